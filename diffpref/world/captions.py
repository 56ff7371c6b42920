"""Captions: an unambiguous grammar that names some attributes and leaves the rest free.

    count [size] [finish] [colour] shape [place] [on a BACKGROUND background]

An attribute left out is free: "some" for the count, "thing" for the shape.
"""

import torch
from jaxtyping import Int
from torch import Tensor

from diffpref.draws import Draws
from diffpref.errors import DataError, nearest
from diffpref.world.scene import ATTRIBUTES

Statement = dict[str, str]
"""The attributes a caption names: attribute -> value."""

PLACES = {
    "left": "on the left",
    "right": "on the right",
    "top": "at the top",
    "bottom": "at the bottom",
    "centre": "in the centre",
}

SHARE = {
    "count": 0.75,
    "size": 0.3,
    "finish": 0.3,
    "colour": 0.55,
    "shape": 0.75,
    "place": 0.0,
    "background": 0.4,
}
"""How often a random caption names an attribute. Places stay free: the bundled base, too small to
follow them, puts things where it likes (docs/log.md), and people have tastes about that."""

MOST = 4
"""A random caption names at most this many attributes, so that every prompt leaves room."""


def caption(stated: Statement) -> str:
    """Write the caption that names exactly these attributes."""
    count = stated.get("count", "some")
    noun = stated.get("shape", "thing") + ("" if count == "one" else "s")
    words = [
        count,
        *(stated[name] for name in ("size", "finish", "colour") if name in stated),
        noun,
    ]
    if "place" in stated:
        words.append(PLACES[stated["place"]])
    if "background" in stated:
        words.append(f"on a {stated['background']} background")
    return " ".join(words)


def parse(text: str) -> Statement:
    """Return exactly the attributes a caption names.

    Raises:
        DataError: the text is not a caption of the world.
    """
    said = text.strip().lower().rstrip(".")
    stated: Statement = {}
    words = _cut_phrases(said, stated, text).split()
    if len(words) < 2:
        raise _error(text, f"'{' '.join(words)}' names no object")
    if words[0] != "some":
        stated["count"] = _known("count", words[0], text)
    noun = words[-1] if words[0] == "one" else words[-1].removesuffix("s")
    if noun != "thing":
        stated["shape"] = _known("shape", noun, text)
    for word in words[1:-1]:
        stated[_attribute(word, text)] = word
    if caption(stated) != said:
        raise _error(text, f"the grammar would say '{caption(stated)}'")
    return stated


def _cut_phrases(rest: str, stated: Statement, text: str) -> str:
    """Note the background and the place, which end a caption, and return what stands before."""
    if rest.endswith(" background") and " on a " in rest:
        rest, _, tail = rest.rpartition(" on a ")
        stated["background"] = _known("background", tail.removesuffix(" background"), text)
    for value, phrase in PLACES.items():
        if rest.endswith(" " + phrase):
            stated["place"], rest = value, rest.removesuffix(" " + phrase)
    return rest


def sample_names(
    seed: int, positions: Int[Tensor, " n"], *, fewest: int = 2
) -> list[frozenset[str]]:
    """Draw which attributes a caption names for each position: `fewest` to MOST of them."""
    draws = Draws(seed, positions)
    names = list(ATTRIBUTES)
    chosen = torch.stack([draws.uniform(f"state/{name}") < SHARE[name] for name in names], dim=1)
    wanted = chosen.sum(dim=1).clamp(fewest, MOST)
    never = torch.tensor([SHARE[name] == 0 for name in names])
    order = draws.normal("state/order", (len(names),)) + 100 * (chosen.float() - never.float())
    ranked = order.argsort(dim=1, descending=True)
    return [
        frozenset(names[int(i)] for i in ranked[row, : int(wanted[row])])
        for row in range(len(positions))
    ]


def sample_statements(
    seed: int, positions: Int[Tensor, " n"], *, fewest: int = 2
) -> list[Statement]:
    """Draw the attributes a caption names, and their values, for each position."""
    draws = Draws(seed, positions)
    kept = sample_names(seed, positions, fewest=fewest)
    values = {
        name: draws.integers(f"state/value/{name}", 0, len(known))
        for name, known in ATTRIBUTES.items()
    }
    return [
        {
            name: known[int(values[name][row])]
            for name, known in ATTRIBUTES.items()
            if name in kept[row]
        }
        for row in range(len(positions))
    ]


def _known(name: str, value: str, text: str) -> str:
    if value not in ATTRIBUTES[name]:
        raise _error(text, f"'{value}' is not a {name}; {nearest(value, ATTRIBUTES[name])}")
    return value


def _attribute(word: str, text: str) -> str:
    for name in ("size", "finish", "colour"):
        if word in ATTRIBUTES[name]:
            return name
    known = [word for name in ("size", "finish", "colour") for word in ATTRIBUTES[name]]
    raise _error(text, f"unknown word '{word}'; {nearest(word, known)}")


def _error(text: str, why: str) -> DataError:
    return DataError(
        f"'{text}' is not a caption of the bundled world: {why}",
        hint="Write e.g. 'two small red circles on the left on a white background'; "
        "leave out what should stay free.",
    )
