"""What the online board compares, and what every run may spend."""

from dataclasses import dataclass
from pathlib import Path

HEADS = Path("runs/online/heads")
"""Where rows find their heads, from the root of the repository; part of their keys."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A preset of configs/shapes and what it changes.

    `head`: a reward of noisy latents, by its kind, that is learned from the bundled votes first.
    """

    preset: str
    overrides: tuple[str, ...] = ()
    head: str | None = None

    @property
    def changes(self) -> tuple[str, ...]:
        """What differs from the preset, the path of the head included."""
        if self.head is None:
            return self.overrides
        return (*self.overrides, f"reward.scorer=noisy:{HEADS / self.head}")


@dataclass(frozen=True, kw_only=True)
class Form:
    """How much is spent on every run.

    Attributes:
        forwards: UNet forward passes of one image, everything counted (guidance twice, a backward
            as two), after which a run ends.
        marks: shares of it at which a run is measured.
        rates: learning rates; each is a run of its own on `search_prompts` validation prompts,
            and the best is run with every seed.
        search_forwards: what a run of that search may spend.
        prompts: test prompts of a measurement.
    """

    forwards: int = 60_000
    marks: tuple[float, ...] = (0.1, 0.2, 0.35, 0.5, 0.75, 1.0)
    rates: tuple[float, ...] = (3e-4, 1e-3)
    search_forwards: int = 15_000
    search_prompts: int = 64
    prompts: int = 128
    sampler_steps: int = 12
    seeds: tuple[int, ...] = (0, 1, 2)


FORM = Form()

ROWS = {
    "tailorpo": Row(preset="tailorpo"),
    "tailorpo_g": Row(preset="tailorpo_g"),
    "tailorpo_random": Row(preset="tailorpo", overrides=("method.continue_from=random",)),
    "tailorpo_no_kl": Row(preset="tailorpo", overrides=("method.kl=0",)),
    "spo": Row(preset="spo"),
    "gradspo": Row(preset="gradspo"),
    "d3po": Row(preset="d3po"),
    "online_dpo": Row(preset="online_dpo"),
    "nft": Row(preset="nft"),
    "ddpo": Row(preset="ddpo"),
    "grpo": Row(preset="grpo"),
    "refl": Row(preset="refl"),
    "draft": Row(preset="draft"),
    "alignprop": Row(preset="alignprop"),
    "lpo": Row(preset="lpo", head="latent"),
}
"""Row -> what it runs. All are judged by the bundled reward (lpo: by its head), and measured
by the oracle."""
