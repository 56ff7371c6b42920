"""The scores of every picture for every prompt, each picture prepared and looked at once."""

from collections.abc import Callable, Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from diffpref.rewards.inputs import AnyImage
from diffpref.rewards.model import LooksFirst, ScoringModel
from diffpref.rewards.stream import Batch, stream
from diffpref.types import PerRow


def matrix_of(
    model: ScoringModel,
    pictures: Sequence[AnyImage],
    prompts: Sequence[str],
    *,
    batch_size: int,
    progress: Callable[[int, int | None], None] | None = None,
) -> Float[Tensor, "p i"]:
    """Return the scores of a model whose picture and prompt meet before the end.

    Args:
        model: who scores.
        pictures: in any form `LoadedScorer.score` takes.
        prompts: in the order of the rows.
        batch_size: pictures looked at at once.
        progress: told (scores done, scores in all) after every batch for every prompt.

    Raises:
        DataError: a picture is not usable.
    """
    values, done = torch.full((len(prompts), len(pictures)), torch.nan), 0
    for part in stream(pictures, model.sight.reference, batch_size=batch_size):
        if not isinstance(part, Batch):
            continue
        for row, found in enumerate(_every_prompt(model, part.seen, prompts)):
            values[row, part.index] = found.float().cpu()
            done += len(part.index)
            if progress is not None:
                progress(done, values.numel())
    return values


def _every_prompt(model: ScoringModel, seen: Tensor, prompts: Sequence[str]) -> Iterator[PerRow]:
    """Yield the scores of the same pictures for one prompt after another.

    A model that looks first looks at them once.
    """
    if isinstance(model, LooksFirst):
        judge, what = model.judge_looked, model.look(seen)
    else:
        judge, what = model.judge, seen
    for prompt in prompts:
        yield judge(what, (prompt,) * len(seen))
