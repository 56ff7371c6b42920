"""What `diffpref train-reward` prints of a head of pictures."""

from pathlib import Path
from typing import Any

import typer

from diffpref.cli.app import write_columns


def show_reward(summary: dict[str, Any], out: Path) -> None:
    """Print accuracies, few-vote accuracies, calibration and recovered tastes."""
    pairs, people = summary["pairs"], summary["people"]
    typer.echo(
        f"{pairs['train']} votes of {people['train']} people to train, {pairs['test']} of "
        f"{people['test']} to test"
    )
    table = [("test", "accuracy", "95 % interval", "expected", "95 % interval")]
    table += [
        (each["name"], *_cells(each["votes"]), *_cells(each["expected"]))
        for each in summary["accuracy"]
    ]
    write_columns(table)
    for shot in summary.get("new_people", ()):
        count = "all" if shot["votes"] is None else shot["votes"]
        typer.echo(f"new people after {count} votes: {shot['accuracy']:.3f}")
    typer.echo(f"calibration error {summary['reliability']['ece']:.3f}")
    for name, weight in summary.get("weights", {}).items():
        typer.echo(f"weight of {name}: {weight:.3f}")
    if summary.get("taste"):
        typer.echo(
            f"recovered taste: cosine {summary['taste']['cosine']:.2f}, personal part "
            f"{summary['taste']['personal']:.2f}"
        )
    if summary["bad_rows"]:
        typer.echo(f"{summary['bad_rows']} rows could not be used", err=True)
    typer.echo(f"see {out / 'report.html'}")


def _cells(found: dict[str, Any] | None) -> tuple[str, str]:
    if found is None:
        return "", ""
    return f"{found['accuracy']:.3f}", f"{found['low']:.3f} to {found['high']:.3f}"
