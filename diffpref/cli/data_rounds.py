"""Rounds of online runs on the command line: what they hold, and their images as a data set."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from diffpref.cli.app import write_columns, write_json
from diffpref.cli.progress import progress_bar
from diffpref.errors import UsageError

SHOWN = 10
BAR = 40
"""Longest bar of the histogram, in characters."""


def inspect_rounds(source: str, *, json: bool) -> int:
    """Write what a folder of rounds holds; return the number of items."""
    from diffpref.run.rollouts.written import open_rounds, summary

    found = summary(open_rounds(source))
    if json:
        write_json({"format": "rounds", "rounds": found})
    else:
        _write(source, found)
    return int(found["items"])


def export_rounds(source: str, out: Path, *, base: str | None, device: str, json: bool) -> None:
    """Write the images of rounds as a data set."""
    from diffpref.models.load import load_bundle
    from diffpref.run.rollouts.written import base_of, export, open_rounds

    rounds = open_rounds(source)
    base = base or base_of(rounds)
    if base is None:
        raise UsageError(
            "these rounds do not say which base made them",
            where=source,
            hint="add --base, the model.base of the run",
        )
    with progress_bar("writing", "rounds") as tell:
        rows, images = export(rounds, load_bundle(base, device=device), out, progress=tell)
    if json:
        write_json({"out": str(out), "rows": rows, "images": images})
    else:
        typer.echo(f"{rows} rows with {images} images are in {out}")
        typer.echo(f"use them: diffpref train CONFIG data.source={out}")


def _write(source: str, found: Mapping[str, Any]) -> None:
    prompts: Mapping[str, int] = found["prompts"]
    head = [("source", source), ("format", "rounds of an online run")]
    counts = [(name, str(found[name])) for name in ("kind", "rounds", "empty", "items")]
    told = [(f"made with {name}", value) for name, value in found["made with"].items()]
    gaps = [(f"gap, {name}", f"{value:.4g}") for name, value in found["gap"].items()]
    most = max(found["t"].values(), default=1)
    steps = [
        (f"t {t}", f"{count:>6} {'#' * max(1, round(BAR * count / most))}")
        for t, count in found["t"].items()
    ]
    asked = [("prompts", str(len(prompts)))]
    shown = [(f"  {count} items", text) for text, count in list(prompts.items())[:SHOWN]]
    write_columns([*head, *counts, *told, *gaps, *steps, *asked, *shown])
    if len(prompts) > SHOWN:
        typer.echo(f"... and {len(prompts) - SHOWN} more prompts; --json lists all")
