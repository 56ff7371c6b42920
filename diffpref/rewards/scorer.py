"""A loaded scorer: one object for scoring, comparing, ranking and differentiating."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from diffpref.errors import UsageError
from diffpref.rewards.info import ScoreResult, ScorerInfo
from diffpref.rewards.inputs import AnyImage, PixelRange, as_sequence, match_prompts
from diffpref.rewards.judging import explanations, flags_of, judge_of, one_by_one, prompt_rows
from diffpref.rewards.matrix import matrix_of
from diffpref.rewards.model import ImageTower, PairwiseModel, Pixels, ScoringModel, TwoTower
from diffpref.rewards.pairwise import chosen, preferences
from diffpref.rewards.sight import round_to_bytes
from diffpref.rewards.stream import Batch, Unreadable, stream
from diffpref.types import PerRow

Images = AnyImage | Iterable[AnyImage]
Progress = Callable[[int, int | None], None]
"""(scores done, scores in all)."""

Preparation = Literal["reference", "smooth"]
"""reference: pictures prepared as the published code does; smooth: as `reward` does."""


@dataclass(frozen=True)
class LoadedScorer:
    """Scores images against prompts; higher is better.

    Results keep the input's order and do not depend on the batch (1e-5 in float32). Networks are
    frozen. Called like a function it is `reward`, so that it is a `Scorer` of `types`.
    """

    model: ScoringModel | PairwiseModel

    @property
    def info(self) -> ScorerInfo:
        return self.model.info

    def __call__(self, images: Pixels, prompts: tuple[str, ...], /) -> PerRow:
        return self.reward(images, prompts)

    def reward(self, pixels: Pixels, prompts: tuple[str, ...], *, as_bytes: bool = False) -> PerRow:
        """Return the scores of pixels in [0, 1], with gradient.

        Pictures are prepared smoothly (float, antialiased, clamped), so scores differ a little
        from `score`'s; measure it with `score(..., path="smooth")`.

        Args:
            pixels: several pictures of one size.
            prompts: one per picture.
            as_bytes: round to 8 bits first, the gradient passing straight through.

        Returns:
            Scores, on the device of `pixels`.

        Raises:
            UsageError: a gradient is wanted and the scorer has none, or it only compares; or
                `pixels` is no batch of pictures.
        """
        if not isinstance(pixels, Tensor) or pixels.ndim != 4:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise UsageError(
                "reward takes a tensor of pictures x 3 x height x width in [0, 1]",
                where="pixels",
                hint="use score for paths and pictures of other kinds",
            )
        if pixels.requires_grad and not self.info.differentiable:
            raise UsageError(
                f"{self.info.id} is not differentiable",
                where="scorer",
                hint="use it to score or rank, and a differentiable scorer as a reward",
            )
        model = self._scoring()
        seen = model.sight.smooth(round_to_bytes(pixels) if as_bytes else pixels)
        return model.judge(seen, prompts).to(pixels.device)

    @torch.no_grad()
    def score(
        self,
        images: Images,
        prompts: str | Sequence[str],
        *,
        batch_size: int = 32,
        images_per_prompt: int = 1,
        pixel_range: PixelRange = "unit",
        path: Preparation = "reference",
        skip_bad: bool = False,
        progress: Progress | None = None,
    ) -> ScoreResult:
        """Score every image against its prompt.

        Args:
            images: PIL images, paths, encoded bytes, uint8 arrays or tensors; one or several.
            prompts: one per image, or one string for all.
            batch_size: images scored at once.
            images_per_prompt: k where consecutive groups of k images share a prompt.
            pixel_range: what float tensors span.
            path: how pictures are prepared.
            skip_bad: give an unreadable image NaN and a flag instead of raising.
            progress: told after every batch.

        Returns:
            Values, flags and reasons in input order.

        Raises:
            DataError: an image or the number of prompts is wrong.
            UsageError: the scorer only compares.
        """
        model, pictures = self._scoring(), as_sequence(images)
        asked = match_prompts(prompts, len(pictures), images_per_prompt=images_per_prompt)
        judge = judge_of(model, asked, batch_size)
        look = model.sight.reference if path == "reference" else one_by_one(model)
        values, done = torch.full((len(pictures),), torch.nan), 0
        unreadable: dict[int, str] = {}
        unparsed: dict[int, str] = {}
        for part in stream(
            pictures, look, batch_size=batch_size, pixel_range=pixel_range, skip_bad=skip_bad
        ):
            if isinstance(part, Unreadable):
                unreadable[part.number] = part.reason
                done += 1
            else:
                values[part.index] = judge(part).float().cpu()
                unparsed |= explanations(model, part, asked, values)
                done += len(part.index)
            if progress is not None:
                progress(done, len(pictures))
        flags, reasons = flags_of(values, unreadable, self._overlong(asked)), unreadable | unparsed
        return ScoreResult(values=values, flags=flags, info=self.info, reasons=reasons)

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

        Two-tower scorers embed each once. Of the others every picture is prepared once, and looked
        at once where what the network makes of it does not depend on the prompt (BLIP, ImageReward,
        MPS, VQAScore by CLIP-FlanT5, trained heads); the rest is prompts x images.
        """
        pictures = as_sequence(images)
        if isinstance(self.model, TwoTower) and pictures and prompts:
            text = self.embed_prompts(prompts, batch_size=batch_size)
            rows = self.embed_images(pictures, batch_size=batch_size)
            return self.model.finish(text @ rows.T)
        return matrix_of(
            self._scoring(), pictures, prompts, batch_size=batch_size, progress=progress
        )

    @torch.no_grad()
    def compare(
        self, prompt: str, images: Images, *, temperature: float | None = None
    ) -> Float[Tensor, " i"]:
        """Return the probability that each image is the one chosen for this prompt.

        Args:
            prompt: what all images were made for.
            images: the candidates.
            temperature: of the softmax, in units of the score; None is the scorer's own. A scorer
                that only compares gives each image its share of all comparisons won.
        """
        if isinstance(self.model, PairwiseModel):
            return chosen(preferences(self.model, as_sequence(images), prompt))
        scores = self.score(images, prompt).values
        return (scores / (temperature or self.info.temperature)).softmax(dim=0)

    def rank(self, prompt: str, images: Images) -> list[int]:
        """Return the images' numbers, best first; equal to 1e-6 they keep their order."""
        if isinstance(self.model, PairwiseModel):
            scores = self.compare(prompt, images)
        else:
            scores = self.score(images, prompt).values
        # The place in a batch moves a score by rounding; that must not reorder equal images.
        rounded = scores.double().round(decimals=6)
        return torch.argsort(rounded, descending=True, stable=True).tolist()

    @torch.no_grad()
    def embed_images(self, images: Images, *, batch_size: int = 32) -> Float[Tensor, "i d"]:
        """Return unit embeddings on the CPU.

        Raises:
            UsageError: the scorer has no image embedding.
        """
        model, pictures = self.model, as_sequence(images)
        if not isinstance(model, ImageTower):
            raise self._no_embedding("image")
        found: dict[int, Tensor] = {}
        for part in stream(pictures, self.model.sight.reference, batch_size=batch_size):
            if isinstance(part, Batch):
                found |= zip(part.index, model.embed_seen(part.seen).float().cpu(), strict=True)
        return torch.stack([found[i] for i in range(len(pictures))]) if found else torch.zeros(0, 0)

    @torch.no_grad()
    def embed_prompts(
        self, prompts: Sequence[str], *, batch_size: int = 32
    ) -> Float[Tensor, "p d"]:
        """Return unit embeddings on the CPU.

        Raises:
            UsageError: the scorer has no text embedding.
        """
        model = self.model
        if not isinstance(model, TwoTower):
            raise self._no_embedding("text")
        return prompt_rows(model, list(prompts), batch_size)

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> "LoadedScorer":
        """Return this scorer on another device or in another precision."""
        place = torch.device(device) if isinstance(device, str) else device
        return LoadedScorer(self.model.to(place, dtype))

    def eval(self) -> "LoadedScorer":
        """Return itself: a scorer is always in evaluation mode, its parameters frozen."""
        return self

    def _scoring(self) -> ScoringModel:
        if not isinstance(self.model, ScoringModel):
            hint = "use compare or rank; only a difference has a meaning here"
            raise UsageError(f"{self.info.id} gives no scores", where="scorer", hint=hint)
        return self.model

    def _overlong(self, asked: Sequence[str]) -> list[bool]:
        distinct = list(dict.fromkeys(asked))
        long = dict(zip(distinct, self.model.overlong(distinct), strict=True))
        return [long[prompt] for prompt in asked]

    def _no_embedding(self, what: str) -> UsageError:
        hint = "choose a scorer of kind image-text, such as pickscore or world-reward"
        return UsageError(f"{self.info.id} has no {what} embeddings", where="scorer", hint=hint)
