"""Reads whose images are wanted, and says plainly what a profile is worth."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from diffpref.cli.personal_options import Asked
from diffpref.errors import UsageError

if TYPE_CHECKING:
    from diffpref.rewards import LoadedScorer
    from diffpref.users.profile import UserProfile
    from diffpref.users.vlm.profile import VlmProfile


def seen_by_vlm(asked: Asked) -> "VlmProfile | None":
    """Read a profile of encoder vlm; None if it is one of another encoder.

    Raises:
        UsageError: it should choose among images, which it cannot.
        DataError: damaged.
    """
    from diffpref.users.vlm.profile import load_vlm_profile

    found = load_vlm_profile(asked.profile)
    if found is None:
        return None
    for name, wanted in {"--rerank": asked.rerank, "--compare": asked.compare}.items():
        if wanted:
            what = "a profile of encoder vlm judges no images and has no population"
            hint = f"leave {name} out, or fit the votes with --encoder bt"
            raise UsageError(what, where=name, hint=hint)
    typer.echo(f"note: {asked.profile.name}: {found.verdict}", err=True)
    return found


def read_person(asked: Asked, near: Path | None) -> "UserProfile":
    """Read the profile and say plainly what it is worth, if that is little.

    Raises:
        DataError: damaged, or of another population.
        UsageError: its population is not found.
    """
    from diffpref.evaluate.personal import read_profile

    found = read_profile(asked.profile, asked.prior, near=near)
    if not found.verdict.startswith("better"):
        typer.echo(f"note: {asked.profile.name}: {found.verdict}", err=True)
    return found


def embedder_for(asked: Asked, profile: "UserProfile") -> "LoadedScorer":
    """Load the scorer a profile reads."""
    from diffpref.cli.profile_options import embedder_of

    return embedder_of(profile.prior, asked.weights_dir, asked.device)


def profile_scorer_of(asked: Asked, profile: "UserProfile") -> "LoadedScorer":
    """Return the profile as a scorer."""
    from diffpref.users.reward import profile_scorer

    return profile_scorer(profile, embedder_for(asked, profile))
