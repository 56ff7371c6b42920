"""The options of `diffpref generate` that say whom images are for, declared once."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from diffpref.errors import UsageError

Profile = Annotated[
    Path | None, typer.Option("--profile", help="Whom images are for: a file of `profile fit`.")
]
Strength = Annotated[
    float, typer.Option("--strength", min=0, max=4, help="Of the profile: 1 as trained, 0 off.")
]
Adapter = Annotated[
    Path | None, typer.Option("--adapter", help="A run that trained a user adapter, or its file.")
]
Rerank = Annotated[
    int | None,
    typer.Option("--rerank", min=1, help="Images to make of each prompt; --n best are kept."),
]
Compare = Annotated[
    bool,
    typer.Option("--compare", help="One grid: base, population, mine, somebody else's."),
]
Other = Annotated[
    Path | None,
    typer.Option("--other", help="Somebody else's profile for --compare; drawn if absent."),
]
PriorName = Annotated[
    str | None,
    typer.Option("--prior", help="The profile's population, if neither bundled nor beside it."),
]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What was asked for; the profile is there."""

    profile: Path
    strength: float
    rerank: int | None
    compare: bool
    other: Path | None
    prior: str | None
    weights_dir: Path | None
    device: str


def asked_of(
    profile: Path | None,
    *,
    strength: float,
    rerank: int | None,
    compare: bool,
    other: Path | None,
    prior: str | None,
    weights_dir: Path | None,
    device: str,
    layout: str,
    n: int,
) -> Asked | None:
    """Return what was asked for, or None without a profile.

    Args:
        profile: whose images.
        strength: of the profile.
        rerank: images to choose from.
        compare: make a grid.
        other: somebody else, for the grid.
        prior: the profile's population.
        weights_dir: where the weights of its scorer are.
        device: where it runs.
        layout: flat or benchmark.
        n: images kept of each prompt.

    Raises:
        UsageError: options that need a profile, or do not go together.
    """
    needing = {"--rerank": rerank, "--compare": compare, "--other": other, "--prior": prior}
    if profile is None:
        for name, value in needing.items():
            if value:
                hint = "diffpref profile fit VOTES -o me.profile, then --profile me.profile"
                raise UsageError("needs --profile", where=name, hint=hint)
        return None
    if other is not None and not compare:
        raise UsageError("is for --compare", where="--other", hint="add --compare, or leave it out")
    if layout != "flat" and (compare or rerank):
        what = "these images lie in one folder"
        raise UsageError(
            what, where="--layout", hint="leave out --layout, or --rerank and --compare"
        )
    if rerank is not None and rerank < n:
        what, hint = (
            f"cannot keep {n} of {rerank}",
            f"set --rerank to {n} or more, or a smaller --n",
        )
        raise UsageError(what, where="--rerank", hint=hint)
    return Asked(
        profile=profile,
        strength=strength,
        rerank=rerank,
        compare=compare,
        other=other,
        prior=prior,
        weights_dir=weights_dir,
        device=device,
    )
