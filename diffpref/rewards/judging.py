"""The steps of scoring a list of pictures: prompts embedded once, verdicts, flags."""

from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from diffpref.rewards.model import Explains, ScoringModel, TwoTower
from diffpref.rewards.sight import Picture
from diffpref.rewards.stream import Batch
from diffpref.types import PerRow


def judge_of(
    model: ScoringModel, prompts: Sequence[str], batch_size: int
) -> Callable[[Batch], PerRow]:
    """Return what scores a batch; a two-tower model embeds every distinct prompt only once."""
    if not isinstance(model, TwoTower) or not prompts:
        return lambda part: model.judge(part.seen, tuple(prompts[i] for i in part.index))
    towers: TwoTower = model
    distinct = list(dict.fromkeys(prompts))
    place = {prompt: row for row, prompt in enumerate(distinct)}
    text = prompt_rows(towers, distinct, batch_size)

    def judge(part: Batch) -> PerRow:
        image = towers.embed_seen(part.seen)
        rows = text[[place[prompts[i]] for i in part.index]].to(image.device)
        return towers.finish((image * rows).sum(dim=1))

    return judge


def prompt_rows(model: TwoTower, prompts: Sequence[str], batch_size: int) -> Float[Tensor, "p d"]:
    """Return unit embeddings on the CPU, a batch at a time."""
    parts = [
        model.embed_prompts(prompts[start : start + batch_size]).float().cpu()
        for start in range(0, len(prompts), batch_size)
    ]
    return torch.cat(parts) if parts else torch.zeros(0, 0)


def one_by_one(model: ScoringModel) -> Callable[[Picture], Tensor]:
    """Return the smooth preparation of a single picture."""
    return lambda picture: model.sight.smooth(picture[None])[0]


def explanations(
    model: ScoringModel, part: Batch, prompts: Sequence[str], values: PerRow
) -> dict[int, str]:
    """Return why pictures of a batch have no score, by number, from a model that can say it."""
    if not isinstance(model, Explains) or not bool(values[part.index].isnan().any()):
        return {}
    told = model.explain(part.seen, tuple(prompts[i] for i in part.index))
    return {number: why for number, why in zip(part.index, told, strict=True) if why}


def flags_of(
    values: PerRow, reasons: Mapping[int, str], overlong: Sequence[bool]
) -> tuple[tuple[str, ...], ...]:
    """Return each image's flags, as `ScoreResult` explains them."""
    found: list[tuple[str, ...]] = []
    for number, value in enumerate(values.tolist()):
        flags = ["truncated"] if overlong[number] else []
        if number in reasons:
            flags.append("unreadable")
        elif value != value:  # noqa: PLR0124  (NaN alone differs from itself)
            flags.append("unparsed")
        elif abs(value) == float("inf"):
            flags.append("not-finite")
        found.append(tuple(flags))
    return tuple(found)
