"""Seed-matched validation while training: the policy's images and the base's, compared."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from accelerate import Accelerator
from jaxtyping import Float
from torch import Tensor

from diffpref.config.schema import EvaluateConfig
from diffpref.evaluate.drift import UNTOUCHED, Drifts, beyond, drift_names, embedding
from diffpref.evaluate.opened import Place
from diffpref.evaluate.prompts import read_prompts
from diffpref.evaluate.runs import base_of_run
from diffpref.evaluate.winrate import win_rate
from diffpref.io import png_bytes, write_atomic
from diffpref.models import Bundle, adapters_off, has_adapters
from diffpref.models.sample import SampleSettings, sample
from diffpref.rewards import LoadedScorer, load_scorer
from diffpref.run.assemble import Assembled

SHOWN = 8
"""Pairs of images kept per validation."""

Images = Float[Tensor, "n 3 y x"]


def _silent(sentence: str) -> None:
    del sentence


@dataclass(kw_only=True)
class Validator:
    """Compares the policy with the base on the same prompts and seeds.

    The base's images and scores are made once, at the first validation. Only the main process
    works; the others wait for it, and help to make the images of a policy in shards.

    Attributes:
        run, folder, accelerator: of the run.
        say: told why a run ends early.
        enough: whether a drift is beyond its limit.
    """

    run: Assembled
    folder: Path
    accelerator: Accelerator
    say: Callable[[str], None] = _silent
    enough: bool = field(default=False, init=False)
    _scorers: dict[str, LoadedScorer] = field(default_factory=dict[str, LoadedScorer], init=False)
    _base: Images | None = field(default=None, init=False)
    _drifts: Drifts = field(init=False)

    def __post_init__(self) -> None:
        """Load the scorer of features now: without its weights no step is worth taking.

        Raises:
            UsageError: it has no image embeddings.
            DataError: its weights are missing.
        """
        config = self.run.config
        name = config.evaluate.drift_features if config.evaluate else None
        world = UNTOUCHED in drift_names(config.model.base, name)
        self._drifts = Drifts(world=world)
        if name is not None and self.accelerator.is_main_process:
            self._drifts = Drifts(world=world, features=name, embed=embedding(self._scorer(name)))

    def __call__(self, step: int) -> Mapping[str, float]:
        """Return win rates, scores, drifts; write the first images side by side."""
        settings, metrics = self.run.config.evaluate, dict[str, float]()
        main = self.accelerator.is_main_process
        if settings is not None and (main or self.run.shards is not None):
            prompts = read_prompts(settings.prompts, limit=settings.n)
            ours = self._images(self.run.bundle, prompts)
            if main:
                metrics = self._compare(step, settings, prompts, ours)
        self.accelerator.wait_for_everyone()
        return metrics

    def _compare(
        self, step: int, settings: EvaluateConfig, prompts: list[str], ours: Images
    ) -> dict[str, float]:
        base = self._base_images(prompts)
        self._write(step, base, ours)
        metrics = self._drifts(ours, base)
        told = tuple(prompts) * len(settings.seeds)
        for name in settings.scorers:
            scorer = self._scorer(name)
            mine, theirs = (scorer.score(images, told).values for images in (ours, base))
            shape = (len(settings.seeds), len(prompts))
            rate = win_rate(mine.view(shape).T, theirs.view(shape).T)
            metrics[f"win_rate/{name}"] = rate.rate
            metrics[f"win_rate_low/{name}"] = rate.low
            metrics[f"win_rate_high/{name}"] = rate.high
            metrics[f"score/{name}"] = float(mine.mean())
            metrics[f"score_base/{name}"] = float(theirs.mean())
        why = beyond(metrics, settings.max_drift)
        if why is not None:
            self.say(f"{why}: the run ends at step {step}")
            self.enough = True
        return metrics

    def _scorer(self, name: str) -> LoadedScorer:
        if name not in self._scorers:
            self._scorers[name] = load_scorer(name)
        return self._scorers[name]

    def _base_images(self, prompts: list[str]) -> Images:
        if self._base is None:
            with self._as_base() as bundle:
                self._base = self._images(bundle, prompts)
        return self._base

    @contextmanager
    def _as_base(self) -> Iterator[Bundle]:
        """Give the base: the network without its adapters, or loaded once more."""
        bundle = self.run.bundle
        if has_adapters(bundle.unet):
            with adapters_off(bundle.unet):
                yield bundle
            return
        yield base_of_run(self.run.config, Place(device=str(bundle.device)))

    def _images(self, bundle: Bundle, prompts: list[str]) -> Images:
        """Return images by seed, then prompt."""
        settings = self.run.config.evaluate
        assert settings is not None
        how = SampleSettings(
            guidance=settings.guidance, steps=settings.steps, sampler=settings.sampler
        )
        was = bundle.unet.training
        bundle.unet.eval()
        try:
            return torch.cat(
                [sample(bundle, prompts, seed=seed, settings=how) for seed in settings.seeds]
            )
        finally:
            bundle.unet.train(was)

    def _write(self, step: int, base: Images, ours: Images) -> None:
        """Write samples/step_<n>.png: the base's images above the policy's."""
        from PIL import Image

        rows = [torch.cat(list(images[:SHOWN]), dim=2) for images in (base, ours)]
        pixels = (torch.cat(rows, dim=1) * 255).round().byte().permute(1, 2, 0).numpy()
        folder = self.folder / "samples"
        folder.mkdir(exist_ok=True)
        shown = {"rows": "base above, policy below", "step": str(step)}
        write_atomic(folder / f"step-{step:08d}.png", png_bytes(Image.fromarray(pixels), shown))
