"""What a run writes about itself at its start: counts and hashes, no prompt, no path, no name."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diffpref.data.cache import Cache
from diffpref.evaluate.opened import facts_of
from diffpref.evaluate.recorded import FACTS
from diffpref.io import write_json
from diffpref.run.assemble import Assembled
from diffpref.run.header import numel_of
from diffpref.run.rollouts.online import Online

COUNTS = (
    "rows",
    "kept",
    "prompts",
    "images",
    "users",
    "ties",
    "duplicates",
    "conflicts",
    "dropped",
    "bad",
)
"""Of the cache's report."""


def write_facts(folder: Path, run: Assembled) -> None:
    """Write the file."""
    trained = sum(value.numel() for value in run.learner.parameters.values())
    write_json(
        folder / FACTS,
        {
            **facts_of(run.bundle),
            "family": run.bundle.family.name,
            "trained_numbers": trained,
            "latent_numbers": numel_of(run),
            "data": None if run.cache is None else _offline(run.cache),
            "rollouts": None if run.online is None else _online(run.online),
        },
    )


def _offline(cache: Cache) -> Mapping[str, Any]:
    return {"fingerprint": cache.fingerprint, **{name: cache.report[name] for name in COUNTS}}


def _online(online: Online) -> Mapping[str, Any]:
    return {"fingerprint": online.fingerprint, "prompts": len(online.prompts.texts)}
