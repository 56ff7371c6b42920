"""The whole card as one tree of numbers, from what has been measured so far."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from diffpref.io import read_json
from diffpref.world.people import PANELS, Person
from scripts.people.measures import Kept, Rates, between, head_to_head, impersonal, measured
from scripts.people.rows import ADAPTED, CHOSEN, PANEL_NAMES, PANEL_SHOTS, POOLS

BOTH = {"vs_base": "model/base", "vs_population": "model/population"}
NOBODY = ("taste: nobody (zeros)", "bt: nobody (zeros)")
BEATEN = ("vs_others", "vs_population")
PROFILES = (
    "profile",
    "table",
    "another's profile",
    "shuffled labels",
    "attainable through the embedding",
    "attainable in exact attributes",
    "profile minus population",
    "profile minus another's profile",
)
"""Rows of docs/benchmarks/profiles.json that the card repeats."""


def content(kept: Kept, profiles: Path) -> dict[str, Any]:
    """Return the card's sections; what is not measured yet is left out."""
    return {
        "models": _models(kept),
        "adapters": _adapters(kept),
        "rerank": {pool: _reranked(kept, pool) for pool in POOLS},
        "head_to_head": _heads(kept),
        "panels": _panels(kept),
        "sweep": _sweep(kept),
        "mix": _mix(kept),
        "null": _null(kept),
        "profiles": _profiles(profiles),
    }


def _models(kept: Kept) -> Rates:
    lines = {"population-DPO": kept.find("model/population")}
    lines |= {row: kept.find(row) for row in NOBODY}
    return {name: impersonal(kept, line, BOTH) for name, line in lines.items() if line}


def _adapters(kept: Kept) -> Rates:
    found: Rates = {}
    for row, (model, _) in ADAPTED.items():
        nobody = f"{model}: nobody (zeros)"
        against = {**BOTH, "vs_nobody": nobody} if kept.find(nobody) else BOTH
        if line := kept.find(row):
            found[row] = measured(kept, line, against)
    return found


def _reranked(kept: Kept, pool: str) -> Rates:
    found: Rates = {}
    for by in (*CHOSEN, "everyone", "prior"):
        line = kept.find(f"rerank/{pool}/{by}")
        if line is None:
            continue
        if by in ("everyone", "prior"):
            found[by] = impersonal(kept, line, BOTH)
        else:
            everyone = "prior" if by.startswith("profile") else "everyone"
            against = {**BOTH, "vs_everyones_choice": f"rerank/{pool}/{everyone}"}
            found[by] = measured(kept, line, against)
    return found


def _heads(kept: Kept) -> Rates:
    """Return adapters against re-ranking by the same taste, and both against each other."""
    found: Rates = {}
    for row, (_, vectors) in ADAPTED.items():
        for pool in POOLS:
            other = f"rerank/{pool}/{vectors}"
            if vectors != "random" and kept.find(row) and kept.find(other):
                found[f"{row} | {other}"] = head_to_head(kept, row, other)
    return found


def _panels(kept: Kept) -> Rates:
    found: Rates = {}
    for panel in PANEL_NAMES:
        own = kept.find(f"panel/{panel}/base/attributes/{PANEL_SHOTS}")
        if own is None:
            continue
        cast = [Person(name=str(n), taste=taste) for n, taste in enumerate(kept.tastes)]
        tastes = torch.stack([PANELS[panel](cast, n).taste for n in range(len(cast))])
        asked = Kept(lines=kept.lines, tastes=tastes)
        everyone = f"panel/{panel}/base/everyone"
        found[panel] = {
            "own": measured(asked, own, {"vs_everyones_choice": everyone}),
            "everyone": impersonal(asked, asked.of(everyone), {"vs_base": "model/base"}),
        }
        if made := kept.find(f"panel/{panel}/taste"):
            found[panel]["adapter"] = measured(asked, made, BOTH)
    return found


def _sweep(kept: Kept) -> list[Rates]:
    lines = [line for line in kept.lines if line["row"] == "sweep"]
    return [measured(kept, line, BOTH) for line in sorted(lines, key=lambda at: at["strength"])]


def _mix(kept: Kept) -> list[Rates]:
    lines = sorted((at for at in kept.lines if at["row"] == "mix"), key=lambda at: at["share"])
    whole = kept.find("taste: true")
    if not lines or whole is None:
        return []
    pairs = len(lines[0]["seen"])
    ends = [
        {**whole, "share": share, "seen": whole["seen"][start : 2 * pairs : 2]}
        for share, start in ((0.0, 0), (1.0, 1))
    ]
    return [between(kept, line, pairs) for line in (ends[0], *lines, ends[1])]


def _null(kept: Kept) -> Mapping[str, Any]:
    line = kept.find("null") or {}
    return {name: value for name, value in line.items() if isinstance(value, bool)}


def _profiles(path: Path) -> Rates:
    whole: Any = read_json(path)
    return {
        "votes": {
            shots: {name: row[name] for name in PROFILES} for shots, row in whole["votes"].items()
        },
        "without_votes": whole["without_votes"],
    }


def bound(row: Mapping[str, Any]) -> bool:
    """Tell whether a row beats both others' images and the population's beyond chance."""
    return all(row[name]["low"] > 0.5 for name in BEATEN)
