"""The exact oracle: prompt fidelity by explicit rules, computed from pixels only."""

import torch
from jaxtyping import Float
from torch import Tensor

from diffpref.world.captions import Statement, parse
from diffpref.world.scene import ATTRIBUTES, CENTRE
from diffpref.world.sight import Seen, look


def rules(
    images: Float[Tensor, "n 3 y x"], captions: tuple[str, ...]
) -> dict[str, Float[Tensor, " n"]]:
    """Return each rule's score in [0, 1]; NaN where the caption does not state it.

    count, place and background hold or do not hold; shape, colour, size and finish are the share
    of objects that have the stated value.

    Raises:
        DataError: a caption is not of the world.
    """
    seen = look(images)
    stated = [parse(text) for text in captions]
    columns = {name: torch.full((len(stated),), torch.nan) for name in ATTRIBUTES}
    for row, statement in enumerate(stated):
        for name in statement:
            columns[name][row] = _score(seen, row, name, statement)
    return columns


def fidelity(images: Float[Tensor, "n 3 y x"], captions: tuple[str, ...]) -> Float[Tensor, " n"]:
    """Return the mean over the rules each caption states, in [0, 1]; 1 if it states none."""
    scores = torch.stack(list(rules(images, captions).values()), dim=1)
    return scores.nanmean(dim=1).nan_to_num(1.0)


def _score(seen: Seen, row: int, name: str, stated: Statement) -> float:
    wanted = ATTRIBUTES[name].index(stated[name])
    if name == "count":
        return float(int(seen.count[row]) == wanted + 1)
    if name == "background":
        return float(int(seen.background[row]) == wanted)
    if not seen.present[row].any():
        return 0.0
    if name == "place":
        return float(_place(seen.centroid[row]) == wanted)
    values: Tensor = {
        "shape": seen.shape,
        "colour": seen.colour,
        "size": seen.size,
        "finish": seen.finish,
    }[name]
    return float((values[row][seen.present[row]] == wanted).float().mean())


def _place(centroid: Float[Tensor, "2"]) -> int:
    dx, dy = (centroid - CENTRE).tolist()
    if max(abs(dx), abs(dy)) < 4:
        return 4
    if abs(dx) > abs(dy):
        return 0 if dx < 0 else 1
    return 2 if dy < 0 else 3
