"""One online run, measured while it spends its budget."""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffpref.assets import find_config
from diffpref.config import RunConfig, load_config
from diffpref.errors import DiffprefError
from diffpref.evaluate.prompts import read_prompts
from diffpref.models import Bundle, adapters_off
from diffpref.models.sample import sample
from diffpref.models.sample_settings import SampleSettings
from diffpref.run.execute import execute
from diffpref.run.watch import Watch
from scripts.board.runs import facts_of
from scripts.online.rows import Form, Row

SAMPLE_SEED = 0
ENDLESS = 100_000
DIGITS = 4
Facts = dict[str, Any]


class Spent(BaseException):
    """The budget is spent; nothing of the run catches it."""


def config_of(row: Row, *, lr: float, seed: int) -> RunConfig:
    """Return the configuration of a run that ends by its budget."""
    return load_config(
        find_config(f"shapes/{row.preset}"),
        [
            *row.changes,
            f"optimizer.lr={lr}",
            f"seed={seed}",
            f"loop.steps={ENDLESS}",
            f"save.every={ENDLESS}",
            "evaluate=null",
        ],
    )


def images_of(bundle: Bundle, prompts: tuple[str, ...], steps: int) -> Tensor:
    """Return the images of the common noise, as eight bits would hold them."""
    images = sample(bundle, prompts, seed=SAMPLE_SEED, settings=SampleSettings(steps=steps))
    return (images * 255).round() / 255


@dataclass(kw_only=True)
class Meter:
    """Measures a run at its marks, and ends it at the last."""

    form: Form
    budget: int
    prompts: tuple[str, ...]
    tell: Callable[[str], None]
    found: list[Facts] = field(default_factory=list[Facts])
    _bundle: Bundle | None = None
    _base: Tensor | None = None
    _paused: float = 0.0
    _began: float = field(default_factory=time.monotonic)

    def begin(self, run: Any) -> None:
        """Measure the base, which the run still is."""
        self._bundle = run.bundle
        self._began = time.monotonic()
        with adapters_off(run.bundle.unet):
            self._base = images_of(run.bundle, self.prompts, self.form.sampler_steps)
        self._keep(0.0, {}, self._base)
        self._paused = time.monotonic() - self._began

    def step(self, done: int, values: dict[str, object]) -> None:
        """Measure when a mark is passed.

        Raises:
            Spent: the last mark is passed.
        """
        spent = sum(_number(values, name) for name in ("calls/unet", "calls/unet_learning"))
        marks = [mark * self.budget for mark in self.form.marks]
        if spent < marks[len(self.found) - 1]:
            return
        began = time.monotonic()
        assert self._bundle is not None  # begin was called
        images = images_of(self._bundle, self.prompts, self.form.sampler_steps)
        while len(self.found) <= len(marks) and spent >= marks[len(self.found) - 1]:
            self._keep(spent, {"step": done, **values}, images)
            if len(self.found) > len(marks):
                raise Spent
        self._paused += time.monotonic() - began

    def _keep(self, spent: float, values: dict[str, object], images: Tensor) -> None:
        facts = facts_of(images, self.prompts, self._base)
        self.found.append(
            {
                "unet": spent,
                "rewards": _number(values, "calls/reward"),
                "decoded": _number(values, "calls/vae"),
                "step": values.get("step", 0),
                "seconds": time.monotonic() - self._began - self._paused,
                **facts,
            }
        )
        mean = sum(facts["oracle"]) / len(facts["oracle"])
        self.tell(
            f"  {spent:.0f} forwards: oracle {mean:+.3f}, reward {facts['reward']:.2f}, "
            f"fidelity {facts['fidelity']:.3f}, drift {facts['drift']:.3f}"
        )


def run(
    config: RunConfig,
    folder: Path,
    *,
    form: Form,
    budget: int,
    split: str,
    prompts: int,
    tell: Callable[[str], None],
) -> Facts:
    """Train until the budget is spent.

    Returns:
        `marks`: what was measured at each; `ended`: why the run ended.
    """
    torch.manual_seed(0)
    asked = tuple(read_prompts(f"builtin:prompts/{split}", limit=prompts))
    meter = Meter(form=form, budget=budget, prompts=asked, tell=tell)
    ended = "budget"
    shutil.rmtree(folder, ignore_errors=True)
    try:
        execute(config, folder, watch=Watch(assembled=meter.begin, step=meter.step))
    except Spent:
        pass
    except DiffprefError as error:  # a run that diverges is a result, too
        ended = str(error)
    shutil.rmtree(folder, ignore_errors=True)
    return {"marks": rounded(meter.found), "ended": ended}


def _number(values: dict[str, object], name: str) -> float:
    value = values.get(name, 0.0)
    return float(value) if isinstance(value, int | float) else 0.0


def rounded(value: Any) -> Any:
    """Return the numbers as exactly as a table needs them: thousands are kept per run."""
    if isinstance(value, list):
        return [rounded(each) for each in value]
    if isinstance(value, dict):
        return {key: rounded(each) for key, each in value.items()}
    return round(value, DIGITS) if isinstance(value, float) else value
