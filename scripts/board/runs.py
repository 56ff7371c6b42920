"""One run of a row: train, count the UNet's work, sample the held-out prompts."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from diffpref.assets import find_config
from diffpref.config import RunConfig, load_config
from diffpref.evaluate.prompts import read_prompts
from diffpref.evaluate.subject import open_model
from diffpref.models.sample import sample
from diffpref.models.sample_settings import SampleSettings
from diffpref.rewards import load_scorer
from diffpref.run.execute import execute
from diffpref.run.watch import Watch
from scripts.board.measures import diversity, drift
from scripts.board.rows import Form, Row

SCORERS = ("world-oracle", "world-fidelity", "world-reward")
SAMPLE_SEED = 0
BACKWARD = 2
"""Cost of a backward pass in forward passes."""


@dataclass
class Work:
    """Images the UNet was run on, with and without gradient."""

    with_gradient: int = 0
    without: int = 0
    _handles: list[Any] = field(default_factory=list[Any])

    @property
    def units(self) -> int:
        """Forward passes of one image, a backward counting as two."""
        return self.without + (1 + BACKWARD) * self.with_gradient

    def watch(self, net: nn.Module) -> None:
        """Count from now on what `net` is run on."""
        self._handles.append(net.register_forward_pre_hook(self._count))

    def _count(self, _net: nn.Module, args: tuple[Any, ...]) -> None:
        rows = len(args[0])
        if torch.is_grad_enabled():
            self.with_gradient += rows
        else:
            self.without += rows


def config_of(
    row: Row, form: Form, *, data: Sequence[str], draws: int, lr: float, seed: int, cache: Path
) -> RunConfig:
    """Return the configuration of one run: the preset, the row's changes, and equal terms."""
    units = {"lists": form.pairs // 2, "unpaired": form.pairs * 2}.get(row.data, form.pairs)
    steps = max(1, round(draws / form.pairs))
    return load_config(
        find_config(f"shapes/{row.preset}"),
        [
            *row.overrides,
            *data,
            f"data.cache={cache}",
            f"data.pairs_per_batch={units}",
            f"loop.steps={steps}",
            "loop.micro_batches=1",
            f"optimizer.lr={lr}",
            f"optimizer.warmup={steps // 10}",
            f"save.every={steps}",
            "save.keep=1",
            f"seed={seed}",
        ],
    )


def train(config: RunConfig, folder: Path) -> dict[str, float]:
    """Train into the folder; return seconds and the UNet's work in all and per step."""
    work, began = Work(), time.monotonic()
    marks: dict[str, float] = {}

    def assembled(run: Any) -> None:
        work.watch(run.bundle.unet)
        marks["began"] = time.monotonic()

    execute(config, folder, watch=Watch(assembled=assembled))
    return {
        "seconds": time.monotonic() - marks.get("began", began),
        "unet_units": work.units,
        "unet_units_per_step": work.units / config.loop.steps,
    }


def prompts_of(form: Form, split: str) -> tuple[str, ...]:
    count = form.test_prompts if split == "test" else form.validation_prompts
    return tuple(read_prompts(f"builtin:prompts/{split}", limit=count))


def images_of(model: str, form: Form, split: str) -> tuple[Tensor, tuple[str, ...]]:
    """Return the model's images of the split's prompts from the common noise."""
    prompts = prompts_of(form, split)
    how = SampleSettings(steps=form.sampler_steps)
    images = sample(open_model(model).bundle, prompts, seed=SAMPLE_SEED, settings=how)
    # What is scored is what would be saved: eight bits per channel.
    return (images * 255).round() / 255, prompts


def facts_of(images: Tensor, prompts: tuple[str, ...], base: Tensor | None) -> dict[str, Any]:
    """Return what the board keeps of a model's images: the oracle's scores one by one."""
    found = {name: load_scorer(name).score(images, prompts).values for name in SCORERS}
    return {
        "oracle": [round(value, 4) for value in found["world-oracle"].tolist()],
        "fidelity": float(found["world-fidelity"].mean()),
        "reward": float(found["world-reward"].mean()),
        "diversity": diversity(images),
        "drift": 0.0 if base is None else drift(images, base),
    }
