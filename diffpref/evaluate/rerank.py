"""Best of n: the images of a prompt that somebody's reward likes most."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from jaxtyping import UInt8
from torch import Tensor

from diffpref.evaluate.compare import Progress, Subject
from diffpref.evaluate.pictures import to_bytes
from diffpref.rewards import LoadedScorer


@dataclass(frozen=True, kw_only=True)
class Kept:
    """An image that was kept: its prompt's number, its seed, its reward, its pixels."""

    prompt: int
    seed: int
    reward: float
    pixels: UInt8[Tensor, "3 y x"]


def best_of(
    subject: Subject,
    judge: LoadedScorer,
    prompts: Sequence[str],
    *,
    seed: int = 0,
    n: int = 16,
    keep: int = 1,
    chunk: int = 16,
    on_progress: Progress | None = None,
) -> Iterator[list[Kept]]:
    """Yield the best images of every prompt, best first; of equals the smaller seed is better.

    Args:
        subject: the model, told whom it is for or not.
        judge: whose reward.
        prompts: what to show.
        seed: of the first of n images; the others follow.
        n: images made of each prompt.
        keep: images kept of them.
        chunk: prompts whose images are made together.
        on_progress: told the images made.
    """
    total, done = len(prompts) * n, 0
    for start in range(0, len(prompts), chunk):
        part = range(start, min(start + chunk, len(prompts)))
        asked = [prompts[p] for p in part]
        found: list[list[Kept]] = [[] for _ in part]
        for each in range(seed, seed + n):
            images = subject.sample(
                asked,
                seed=each,
                positions=part,
                on_progress=_after(on_progress, done, total),
            )
            done += len(part)
            rewards = judge.score(images, asked).values.tolist()
            for row, p in enumerate(part):
                kept = Kept(prompt=p, seed=each, reward=rewards[row], pixels=to_bytes(images[row]))
                found[row] = sorted([*found[row], kept], key=_worth)[:keep]
        yield from found


def _worth(kept: Kept) -> tuple[float, int]:
    return -kept.reward, kept.seed


def _after(on_progress: Progress | None, before: int, total: int) -> Progress | None:
    if on_progress is None:
        return None
    tell = on_progress
    return lambda some, _: tell(before + some, total)
