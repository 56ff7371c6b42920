"""How `diffpref profile` tells what it did: lines for people, one document for programs."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer

from diffpref.cli.app import write_columns, write_json

if TYPE_CHECKING:
    from pathlib import Path

    from diffpref.users.profile import UserProfile


def tell(
    profile: "UserProfile",
    path: "Path",
    json: bool,
    *,
    notes: Sequence[str] = (),
    votes: bool = False,
) -> None:
    """Write what a profile holds to stdout; notes go to stderr."""
    found = {"profile": str(path), **profile.summary(), "notes": list(notes)}
    if votes:
        found["votes"] = _votes(profile)
    if json:
        write_json(found)
        return
    for note in notes:
        typer.echo(f"note: {note}", err=True)
    _show(found, path.stat().st_size)


def _votes(profile: "UserProfile") -> list[dict[str, Any]]:
    kept = profile.evidence
    if kept is None:
        return []
    rows = zip(kept.ids, kept.share.tolist(), kept.weight.tolist(), strict=True)
    return [{"id": name, "share": share, "weight": weight} for name, share, weight in rows]


def _show(found: dict[str, Any], size: int) -> None:
    left, bits = found["left_out"], found["entropy_bits"]
    kept = "kept: add and forget are exact" if found["statistics_kept"] else "not kept"
    rows = [
        ("encoder", found["encoder"]["id"]),
        ("population", f"{found['prior']['id']} ({found['prior']['sha256'][:12]})"),
        ("votes", f"{found['pairs']} ({', '.join(found['sources']) or 'none'}), worth "
                  f"{found['effective_pairs']:.1f}; statistics {kept}"),
        ("votes left out", _accuracy(left)),
        ("undecided", f"{bits['own']:.3f} bits a pair, the population {bits['population']:.3f}"),
        ("file", f"{size / 1000:.1f} kB, {found['created']}"),
    ]  # fmt: skip
    write_columns(rows)
    if not found["exact"]:
        typer.echo("updated step by step or mixed: near, not equal to, a fit to all votes at once")
    words = found["words"]
    if words is not None:
        typer.echo(f"likes     {', '.join(words['liked']) or 'nothing clear yet'}")
        typer.echo(f"dislikes  {', '.join(words['disliked']) or 'nothing clear yet'}")
    for vote in found.get("votes", ()):
        typer.echo(f"vote {vote['id']}  share {vote['share']:g}  weight {vote['weight']:g}")
    typer.echo(found["verdict"])


def _accuracy(left: dict[str, Any]) -> str:
    if not left["n"]:
        return "none judged"
    own, everyone = left["accuracy"], left["population_accuracy"]
    return f"{own:.3f} foreseen of {left['n']}, by the population alone {everyone:.3f}"
