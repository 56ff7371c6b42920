"""What `diffpref score` says of images that have no score, or one to be careful with."""

from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from diffpref.evaluate.scoring import ScoredImages

SHOWN = 5
"""Images named of those that were not scored."""

MEANING = MappingProxyType(
    {
        "truncated": "its prompt is longer than the scorer reads, and was cut",
        "unparsed": "the scorer gave no verdict",
        "not-finite": "the score is not a finite number",
    }
)
"""Of flags that come without a reason."""


def tell_left_out(images: Sequence[Path]) -> None:
    """Name pictures inside the folders that are of a format nobody here opens."""
    from diffpref.evaluate.asked import left_out

    found = left_out(images)
    if not found:
        return
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    names = ", ".join(map(str, found[:SHOWN])) + more
    typer.echo(f"left out, as no PNG, JPEG or WEBP: {names}; convert them to score them", err=True)


def write_troubles(scored: "ScoredImages") -> None:
    """Write each flagged image once, with the scorers it concerns unless they are all."""
    found: dict[tuple[Path, str], list[str]] = {}
    for file, scorer, verdict in scored.troubles():
        # beside the reason why there is no score, how long the prompt is does not matter
        flags = [flag for flag in verdict.flags if flag != "truncated"] or ["truncated"]
        why = verdict.reason or "; ".join(MEANING[flag] for flag in flags if flag in MEANING)
        said = f"{', '.join(flags)}: {why}" if why else ", ".join(flags)
        found.setdefault((file, said), []).append(scorer)
    for (file, said), scorers in list(found.items())[:SHOWN]:
        who = "" if len(scorers) == len(scored.verdicts) else f"{', '.join(scorers)}: "
        typer.echo(f"{file}: {who}{said}", err=True)
    if len(found) > SHOWN:
        more = len(found) - SHOWN
        typer.echo(f"and {more} more {'flag' if more == 1 else 'flags'}; {_ALL}", err=True)


_ALL = "--out or --report has all"
