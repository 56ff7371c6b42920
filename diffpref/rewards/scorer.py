"""A loaded scorer: one object for scoring, comparing, ranking and differentiating."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from diffpref.errors import UsageError
from diffpref.rewards.info import ScoreResult, ScorerInfo
from diffpref.rewards.inputs import AnyImage, PixelRange, match_prompts, to_pixels
from diffpref.rewards.model import Pixels, ScoringModel, TwoTower
from diffpref.types import PerRow

Images = AnyImage | Iterable[AnyImage]
Progress = Callable[[int, int | None], None]
"""(scores done, scores in all)."""


@dataclass(frozen=True)
class LoadedScorer:
    """Scores images against prompts; higher is better.

    Results keep the input's order and do not depend on the batch (1e-5 in float32). Networks are
    frozen. Called like a function it is `reward`, so that it is a `Scorer` of `types`.
    """

    model: ScoringModel

    @property
    def info(self) -> ScorerInfo:
        return self.model.info

    def __call__(self, images: Pixels, prompts: tuple[str, ...], /) -> PerRow:
        return self.reward(images, prompts)

    def reward(self, pixels: Pixels, prompts: tuple[str, ...]) -> PerRow:
        """Return the scores of pixels in [0, 1], with gradient.

        Raises:
            UsageError: a gradient is wanted and the scorer has none.
        """
        if pixels.requires_grad and not self.info.differentiable:
            raise UsageError(
                f"{self.info.id} is not differentiable",
                where="scorer",
                hint="use it to score or rank, and a differentiable scorer as a reward",
            )
        return self.model.reward(pixels, prompts)

    @torch.no_grad()
    def score(
        self,
        images: Images,
        prompts: str | Sequence[str],
        *,
        batch_size: int = 32,
        images_per_prompt: int = 1,
        pixel_range: PixelRange = "unit",
        progress: Progress | None = None,
    ) -> ScoreResult:
        """Score every image against its prompt.

        Args:
            images: anything `to_pixels` takes.
            prompts: one per image, or one string for all.
            batch_size: images scored at once.
            images_per_prompt: k where consecutive groups of k images share a prompt.
            pixel_range: what float tensors span.
            progress: told after every batch.

        Returns:
            Values and flags in input order.

        Raises:
            DataError: an image or the number of prompts is wrong.
        """
        pixels = to_pixels(images, pixel_range=pixel_range)
        asked = match_prompts(prompts, len(pixels), images_per_prompt=images_per_prompt)
        values = torch.zeros(len(pixels))
        done = 0
        for index in batches(pixels, batch_size):
            stacked = torch.stack([pixels[i] for i in index])
            values[index] = self.model.reward(stacked, tuple(asked[i] for i in index)).float().cpu()
            done += len(index)
            if progress is not None:
                progress(done, len(pixels))
        long = dict(
            zip(distinct := list(dict.fromkeys(asked)), self.model.overlong(distinct), strict=True)
        )
        flags = tuple(
            (*(("truncated",) if long[prompt] else ()), *(("not-finite",) if bad else ()))
            for prompt, bad in zip(asked, (~torch.isfinite(values)).tolist(), strict=True)
        )
        return ScoreResult(values=values, flags=flags, info=self.info)

    @torch.no_grad()
    def score_matrix(
        self,
        images: Images,
        prompts: Sequence[str],
        *,
        batch_size: int = 32,
        progress: Progress | None = None,
    ) -> Float[Tensor, "p i"]:
        """Return the score of every image for every prompt.

        Two-tower scorers embed each once; others score prompts x images one by one.
        """
        pixels = to_pixels(images)
        if isinstance(self.model, TwoTower):
            text = self.model.embed_prompts(list(prompts)).float().cpu()
            return self.model.logit_scale * text @ self._embedded(pixels, batch_size).T
        rows = []
        for number, prompt in enumerate(prompts):
            rows.append(self.score(pixels, prompt, batch_size=batch_size).values)
            if progress is not None:
                progress((number + 1) * len(pixels), len(prompts) * len(pixels))
        return torch.stack(rows) if rows else torch.zeros(0, len(pixels))

    def compare(
        self, prompt: str, images: Images, *, temperature: float | None = None
    ) -> Float[Tensor, " i"]:
        """Return the probability that each image is the one chosen for this prompt.

        Args:
            prompt: what all images were made for.
            images: the candidates.
            temperature: of the softmax, in units of the score; None is the scorer's own.
        """
        scores = self.score(images, prompt).values
        return (scores / (temperature or self.info.temperature)).softmax(dim=0)

    def rank(self, prompt: str, images: Images) -> list[int]:
        """Return the images' numbers, best first; equals keep their order."""
        scores = self.score(images, prompt).values
        return torch.argsort(scores, descending=True, stable=True).tolist()

    @torch.no_grad()
    def embed_images(self, images: Images, *, batch_size: int = 32) -> Float[Tensor, "i d"]:
        """Return unit embeddings on the CPU.

        Raises:
            UsageError: the scorer has no image embedding.
        """
        return self._embedded(to_pixels(images), batch_size)

    @torch.no_grad()
    def embed_prompts(self, prompts: Sequence[str]) -> Float[Tensor, "p d"]:
        """Return unit embeddings on the CPU.

        Raises:
            UsageError: the scorer has no text embedding.
        """
        return self._towers().embed_prompts(list(prompts)).float().cpu()

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> "LoadedScorer":
        """Return this scorer on another device or in another precision."""
        place = torch.device(device) if isinstance(device, str) else device
        return LoadedScorer(self.model.to(place, dtype))

    def eval(self) -> "LoadedScorer":
        """Return itself: a scorer is always in evaluation mode, its parameters frozen."""
        return self

    def _embedded(self, pixels: list[Tensor], batch_size: int) -> Float[Tensor, "i d"]:
        towers = self._towers()
        found: dict[int, Tensor] = {}
        for index in batches(pixels, batch_size):
            rows = towers.embed_images(torch.stack([pixels[i] for i in index])).float().cpu()
            found.update(zip(index, rows, strict=True))
        return torch.stack([found[i] for i in range(len(pixels))])

    def _towers(self) -> TwoTower:
        if not isinstance(self.model, TwoTower):
            hint = "choose a scorer of kind image-text, such as world-reward"
            raise UsageError(f"{self.info.id} has no embeddings", where="scorer", hint=hint)
        return self.model


def batches(pixels: Sequence[Tensor], size: int) -> list[list[int]]:
    """Return the images' numbers in groups of one picture size, at most `size` each."""
    by_shape: dict[tuple[int, ...], list[int]] = {}
    for number, image in enumerate(pixels):
        by_shape.setdefault(tuple(image.shape), []).append(number)
    return [
        numbers[start : start + size]
        for numbers in by_shape.values()
        for start in range(0, len(numbers), size)
    ]
