"""`diffpref export --push`: shows what would leave this machine, asks, and only then uploads."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from diffpref.errors import UsageError

if TYPE_CHECKING:
    from diffpref.export.push import Plan


def require_pushable(repo: str, *, alone: bool, profile: Path | None, include: bool) -> None:
    """Refuse, before anything is written, what could not be uploaded afterwards.

    Raises:
        UsageError: no repository's name, a file without its card, or a person's profile.
        HubError: offline.
    """
    from diffpref.export.push import require_online, require_repo

    require_repo(repo)
    if alone:
        hint = "name a folder as OUT: it will hold the file and its card"
        raise UsageError("a file alone has no card", where="--push", hint=hint)
    if profile is not None and not include:
        what = "a profile is a person's taste, and would leave this machine"
        hint = "leave --profile out, or add --include-profile if that person agrees"
        raise UsageError(what, where="--push", hint=hint)
    require_online(repo)


def push_folder(folder: Path, repo: str, *, private: bool, yes: bool) -> None:
    """Show the plan, ask, and upload.

    Raises:
        UsageError: nobody is there to ask, or they said no.
        HubError: the hub refuses.
    """
    from diffpref.export.push import plan, upload

    asked = plan(folder, repo, private=private)
    _show(asked)
    if not yes and not _agreed(asked):
        hint = "nothing was uploaded; the export stays where it is"
        raise UsageError("not agreed to", where=f"--push {repo}", hint=hint)
    typer.echo(f"uploaded: {upload(asked)}", err=True)


def _show(asked: "Plan") -> None:
    typer.echo("\nwould leave this machine:", err=True)
    width = max(map(len, asked.files))
    for name, size in asked.files.items():
        typer.echo(f"  {name:<{width}}  {size:>13,} bytes", err=True)
    typer.echo(f"  {'all':<{width}}  {sum(asked.files.values()):>13,} bytes", err=True)
    typer.echo(f"to: {asked.repo}, {asked.visibility}", err=True)


def _agreed(asked: "Plan") -> bool:
    if not sys.stdin.isatty():
        hint = "run it in a terminal, or add --yes"
        raise UsageError("nobody is there to ask", where=f"--push {asked.repo}", hint=hint)
    return typer.confirm(f"upload to {asked.repo}?", default=False, err=True)
