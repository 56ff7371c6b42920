"""Settings of methods in online runs that are small enough for a test."""

from typing import Any

METHODS: dict[str, dict[str, Any]] = {
    "tailorpo": {},
    "tailorpo-g": {"name": "tailorpo", "push": 0.1},
    "spo": {"k": 2, "threshold": None},
    "gradspo": {"k": 2, "threshold": None},
    "d3po": {},
    "ddpo": {},
    "grpo": {"k": 3},
    "nft": {},
    "refl": {},
    "draft": {},
    "alignprop": {},
    "diffusion_dpo": {},
    "plackett_luce": {},
    "diffusion_kto": {},
}
