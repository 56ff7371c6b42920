"""How `diffpref evaluate accuracy` shows what it found."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from diffpref.cli.app import write_columns

if TYPE_CHECKING:
    from diffpref.evaluate.agreement import Agreement
    from diffpref.evaluate.benchmarks import Line, Summary
    from diffpref.rewards import ScorerInfo

SHOWN = 5
HASH = 12
"""Digits of a hash of weights."""


def write_agreement(found: "Agreement", out: Path | None, *, table: bool) -> None:
    """Write the accuracies to stdout if `table`; warnings and bad rows to stderr."""
    for warning in found.warnings:
        typer.echo(f"warning: {warning}", err=True)
    for part, scored in found.scored.items():
        for code, count in found.bad[part].most_common():
            typer.echo(f"{part}: {count} rows left out: {code}", err=True)
        for row in scored.bad[:SHOWN]:
            typer.echo(f"  {row}", err=True)
    if not table:
        return
    head = ("protocol", "scorer", "accuracy", "95% interval", "pairs", "prompts", "label ties",
            "score ties", "threshold", "preprocess", "weights")  # fmt: skip
    rows = [
        (
            one.protocol,
            info.id,
            f"{one.value:.4f}",
            f"{one.low:.4f} to {one.high:.4f}",
            str(one.pairs),
            str(one.prompts),
            str(one.label_ties),
            str(one.score_ties),
            "-" if one.threshold is None else f"{one.threshold:g}",
            info.preprocess_id,
            weights_of(info),
        )
        for info, one in found.accuracies
    ]
    write_columns([head, *rows])
    typer.echo()
    for part, source in found.sources.items():
        count = len(found.scored[part].rows)
        typer.echo(f"{part}: {count} rows of {source.name}, split {source.split}")
    if out is not None:
        typer.echo(f"every score: {out}")


def weights_of(info: "ScorerInfo") -> str:
    """Return the beginning of the hash of every file of weights."""
    return "+".join(each.sha256[:HASH] for each in info.weights) or "none"


def write_summary(protocol: str, found: "Summary") -> None:
    """Write a benchmark's summary: notes to stderr, numbers to stdout."""
    for note in found.notes:
        typer.echo(f"note: {note}", err=True)
    head = ("protocol", "what", "value", "95% interval", "spread", "n")
    lines = [*found.lines, *found.overall]
    write_columns([head, *((protocol, *_cells(line)) for line in lines)])
    typer.echo(f"\n{found.rule}")


def plain_summary(protocol: str, source: str, found: "Summary") -> dict[str, object]:
    """Return a benchmark's summary, ready for JSON."""
    return {"protocol": protocol, "source": source, **asdict(found)}


def _cells(line: "Line") -> tuple[str, str, str, str, str]:
    interval = "-" if line.low is None else f"{line.low:.4f} to {line.high:.4f}"
    spread = "-" if line.spread is None else f"{line.spread:.4f}"
    return line.name, f"{line.value:.4f}", interval, spread, f"{line.n or ''} {line.unit}".strip()
