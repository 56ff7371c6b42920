"""What is told when rating ends: on the page, on the terminal, and as JSON."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from diffpref.rate.book import VIEW
from diffpref.rate.entries import Entry


def summary(entries: Sequence[Entry], out: Path, profile: Path | None) -> dict[str, Any]:
    """Return counts and what to do next.

    Args:
        entries: a person's answers that stand.
        out: the folder they are in.
        profile: where the profile was saved, if there is one.
    """
    votes = [each for each in entries if each.scores is not None]
    ties = sum(each.scores == (0.5, 0.5) for each in votes)
    steps = [f"diffpref data inspect {out}"]
    if profile is not None:
        steps.append(f"diffpref profile show {profile}")
        steps.append(f"diffpref score FOLDER --scorer profile:{profile}")
    steps.append(f"diffpref train CONFIG data.source={out}")
    return {
        "votes": len(votes),
        "ties": ties,
        "skipped": len(entries) - len(votes),
        "pairs": str(out / VIEW),
        "profile": None if profile is None else str(profile),
        "next": steps,
    }
