"""What must not change between a checkpoint and the run that continues it."""

from typing import Any

import torch
from accelerate import Accelerator

from diffpref.config.schema import RunConfig
from diffpref.draws import RNG_SCHEME
from diffpref.models import Bundle
from diffpref.run.folder import versions

LATER = (("adapter", "precision", "fp32"), ("optimizer", "in_backward", False))
"""Fields that older checkpoints do not have, and what they would say there."""


def _as_before(kept: dict[str, Any]) -> None:
    """Leave out what runs do not say that were begun before a field was there, at its default."""
    if kept["users"] is None:
        kept.pop("users")
    else:
        for name in ("prior", "vlm"):  # what decides their numbers is in the encoder's fingerprint
            kept["users"].pop(name)
    for section, name, usual in LATER:
        if kept[section][name] == usual:
            kept[section].pop(name)


def identity_of(
    config: RunConfig, bundle: Bundle, data: str, accelerator: Accelerator
) -> dict[str, object]:
    """Return what must not change between a checkpoint and the run that continues it.

    How often the run saves, logs and validates, and how many steps it takes, may change.
    """
    what = config.model_dump(mode="json")
    free = {"save", "log", "evaluate"}
    kept = {key: value for key, value in what.items() if key not in free}
    _as_before(kept)
    kept["loop"].pop("steps") if config.optimizer.schedule == "constant" else None
    for place in ("rows_per_pass", "rows_ahead"):
        kept["loop"].pop(place)
    if kept["data"] is not None:
        for place in ("cache", "source", "format"):
            kept["data"].pop(place)
    for place in (
        "device",
        "base",
        "attention",
        "gradient_checkpointing",
        "channels_last",
        "compile_blocks",
    ):
        kept["model"].pop(place)
    found = versions()
    return {
        "config": kept,
        "data": data,
        "model": bundle.fingerprint,
        "rng_scheme": RNG_SCHEME,
        "versions": {name: found[name] for name in ("torch", "diffusers", "peft")},
        "processes": accelerator.num_processes,
        "threads": torch.get_num_threads(),
    }
