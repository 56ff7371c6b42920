"""What the card says of every row, as a function of the kept measurements."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from scripts.people.wins import (
    Seen,
    advantage,
    against_one,
    against_others,
    diversity,
    liked,
    own,
    rate,
    recognised,
)

Facts = Mapping[str, Any]
Rates = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Kept:
    """The measurements of one form and the exact tastes of its people."""

    lines: Sequence[Facts]
    tastes: Float[Tensor, "u a"]

    def find(self, row: str, **about: Any) -> Facts | None:
        """Return the newest measurement of a row, or None."""
        found = [
            line
            for line in self.lines
            if line["row"] == row and all(line.get(name) == at for name, at in about.items())
        ]
        return found[-1] if found else None

    def of(self, row: str, **about: Any) -> Facts:
        """Return the newest measurement of a row, which must be there."""
        found = self.find(row, **about)
        assert found is not None, row
        return found

    def seen(self, line: Facts) -> Seen:
        """Return what is seen in a row's images, one table for every person, made or chosen."""
        if "index" not in line:
            return torch.tensor(line["seen"])
        return chosen(torch.tensor(self.of(f"pool/{line['pool']}")["seen"]), line["index"])

    def alone(self, row: str, tastes: Float[Tensor, "u a"]) -> Float[Tensor, "u p"]:
        """Return what people get from images that are made for nobody in particular."""
        return liked(self.seen(self.of(row)), tastes)[:, 0]


def chosen(pool: Float[Tensor, "p n b"], index: Sequence[Sequence[int]]) -> Seen:
    """Return everybody's choice of each prompt's images."""
    rows = torch.tensor(index)
    return pool[torch.arange(len(pool)).expand_as(rows), rows]


def measured(kept: Kept, line: Facts, against: Mapping[str, str]) -> Rates:
    """Return the rates of a row whose images are made or chosen for every person.

    Args:
        kept: the measurements.
        line: the row.
        against: name -> row of images that are for nobody in particular.
    """
    seen = kept.seen(line)
    tastes = kept.tastes[: len(seen)]
    table = liked(seen, tastes)
    base = kept.alone("model/base", tastes)
    found: Rates = {
        name: asdict(rate(against_one(table, kept.alone(row, tastes))))
        for name, row in against.items()
    }
    return {
        **found,
        "vs_others": asdict(rate(against_others(table))),
        "gain": asdict(rate(own(table) - base)),
        "own_minus_others": asdict(rate(advantage(table))),
        "recognised": recognised(table),
        **costs(kept, line),
    }


def impersonal(kept: Kept, line: Facts, against: Mapping[str, str]) -> Rates:
    """Return the rates of a row whose images are the same for everybody."""
    worth = liked(kept.seen(line), kept.tastes)[:, 0]
    table = worth[:, None].expand(-1, len(worth), -1)
    found: Rates = {
        name: asdict(rate(against_one(table, kept.alone(row, kept.tastes))))
        for name, row in against.items()
    }
    gain = worth - kept.alone("model/base", kept.tastes)
    return {**found, "gain": asdict(rate(gain)), **costs(kept, line)}


def costs(kept: Kept, line: Facts) -> Rates:
    """Return what a row costs: prompt fidelity, diversity, and how far it drifts."""
    seen = kept.seen(line)
    found: Rates = {"fidelity": float(seen[..., -1].mean()), "diversity": diversity(seen)}
    if "strength" in line:
        found["strength"] = line["strength"]
    if isinstance(line.get("untouched"), Mapping):
        base = kept.of("model/base")["untouched"]
        ours, theirs, spread = (
            torch.tensor(each) for each in (line["untouched"]["mean"], base["mean"], base["std"])
        )
        found["drift"] = float(((ours - theirs).abs() / spread).mean())
    return found


def head_to_head(kept: Kept, ours: str, theirs: str) -> Rates:
    """Return how often everyone's own image of one row beats their own of another."""
    mine, other = (own(liked(kept.seen(kept.of(row)), kept.tastes)) for row in (ours, theirs))
    table = mine[:, None].expand(-1, len(mine), -1)
    return {
        "vs": asdict(rate(against_one(table, other))),
        "gain": asdict(rate(mine - other)),
    }


def between(kept: Kept, line: Facts, pairs: int) -> Rates:
    """Return what both of two people gain over the base from images of their mixed vectors."""
    seen = kept.seen(line)[:pairs]
    base = kept.seen(kept.of("model/base"))
    found: Rates = {"share": line["share"]}
    for start, name in enumerate(("first", "second")):
        tastes = kept.tastes[start : 2 * pairs : 2]
        worth = own(liked(seen, tastes)) - liked(base, tastes)[:, 0]
        found[name] = asdict(rate(worth))
    return found
