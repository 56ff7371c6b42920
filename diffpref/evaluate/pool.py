"""One pool of images per prompt, from which different people choose their best."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from diffpref.evaluate.compare import Comparison, Progress, Subject
from diffpref.evaluate.pictures import to_bytes
from diffpref.evaluate.winrate import WinRate, win_rate
from diffpref.rewards import LoadedScorer


@dataclass(frozen=True, kw_only=True)
class Pool:
    """n images of every prompt by one model; the first of each is what the model itself makes."""

    subject: Subject
    prompts: tuple[str, ...]
    seed: int
    pixels: UInt8[Tensor, "p n 3 y x"]

    def scores(self, judge: LoadedScorer) -> Float[Tensor, "p n"]:
        """Return what a judge thinks of every image."""
        columns = [self._of(judge, k) for k in range(self.pixels.shape[1])]
        return torch.stack(columns, dim=1)

    def best(self, scores: Float[Tensor, "p n"]) -> UInt8[Tensor, "p 3 y x"]:
        """Return each prompt's image of the highest score; of equals the first."""
        return self.pixels[torch.arange(len(self.prompts)), scores.argmax(dim=1)]

    def _of(self, judge: LoadedScorer, k: int) -> Float[Tensor, " p"]:
        return score_pixels(judge, self.pixels[:, k], self.prompts)


def draw_pool(
    subject: Subject,
    prompts: Sequence[str],
    *,
    seed: int = 0,
    n: int = 1,
    on_progress: Progress | None = None,
) -> Pool:
    """Make n images of every prompt.

    Args:
        subject: the model.
        prompts: what to show.
        seed: of the first image; the others follow.
        n: images of each prompt.
        on_progress: told the images made.
    """
    count, columns = len(prompts), list[Tensor]()
    for k in range(n):

        def tell(some: int, _: int | None, before: int = k * count) -> None:
            if on_progress is not None:
                on_progress(before + some, count * n)

        images = subject.sample(prompts, seed=seed + k, positions=range(count), on_progress=tell)
        columns.append(to_bytes(images))
    pixels = torch.stack(columns, dim=1)
    return Pool(subject=subject, prompts=tuple(prompts), seed=seed, pixels=pixels)


def score_pixels(
    judge: LoadedScorer, pixels: UInt8[Tensor, "p 3 y x"], prompts: Sequence[str]
) -> Float[Tensor, " p"]:
    """Return a judge's scores of finished pictures, float64."""
    return judge.score(pixels.float() / 255, list(prompts)).values.double()


def rate_of(
    judge: LoadedScorer,
    ours: UInt8[Tensor, "p 3 y x"],
    theirs: UInt8[Tensor, "p 3 y x"],
    prompts: Sequence[str],
) -> WinRate:
    """Return how often ours beat theirs; the interval is over prompts."""
    found = (score_pixels(judge, each, prompts)[:, None] for each in (ours, theirs))
    return win_rate(*found)


def comparison_of(
    judges: Sequence[LoadedScorer],
    ours: tuple[Subject, UInt8[Tensor, "p 3 y x"]],
    theirs: tuple[Subject, UInt8[Tensor, "p 3 y x"]],
    prompts: Sequence[str],
    *,
    seed: int,
    shown: int = 12,
) -> Comparison:
    """Return finished pictures of the same prompts as a comparison, for the report."""
    scores = {
        judge.info.id: (
            score_pixels(judge, ours[1], prompts)[:, None],
            score_pixels(judge, theirs[1], prompts)[:, None],
        )
        for judge in judges
    }
    return Comparison(
        a=ours[0].name,
        b=theirs[0].name,
        facts={ours[0].name: dict(ours[0].facts), theirs[0].name: dict(theirs[0].facts)},
        prompts=tuple(prompts),
        seeds=(seed,),
        infos={judge.info.id: judge.info for judge in judges},
        scores=scores,
        rates={name: win_rate(*found) for name, found in scores.items()},
        images=torch.stack([ours[1][:shown], theirs[1][:shown]])[:, :, None],
    )
