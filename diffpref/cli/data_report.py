"""The counts of a data set as columns on stdout."""

from collections.abc import Mapping, Sequence
from typing import Any

import typer

from diffpref.cli.app import write_columns

SHOWN = 20
GIGABYTE = 10**9


def write_report(head: Mapping[str, str], report: Mapping[str, Any]) -> None:
    """Write the counts of a `diffpref.data.report.Report`."""
    guessed = "" if report["overlong_exact"] else " by their words alone; --base MODEL counts them"
    counts = [
        ("rows", report["rows"]),
        ("kept", report["kept"]),
        *((f"dropped: {reason}", count) for reason, count in report["dropped"].items()),
        *((f"bad: {code}", count) for code, count in report["bad"].items()),
        *((f"with {k} images", count) for k, count in report["by_k"].items()),
        ("ties kept", report["ties"]),
        ("prompts", report["prompts"]),
        ("images", report["images"]),
        ("people", report["users"]),
        ("duplicates", report["duplicates"]),
        ("conflicts", report["conflicts"]),
        ("captions too long", f"{report['overlong']}{guessed}"),
        *([("upscaled images", report["upscaled"])] if report["upscaled"] else []),
        *((f"size {size}", count) for size, count in _most(report["buckets"])),
    ]
    write_columns([*head.items(), *((name, str(count)) for name, count in counts)])


def _most(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """The most frequent entries; the rest as one."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    rest = sum(count for _, count in ordered[SHOWN:])
    return ordered[:SHOWN] + ([("of other kinds", rest)] if rest else [])


def write_bad(bad: Sequence[str]) -> None:
    """Write the first bad rows and how many more there are."""
    if bad:
        typer.echo("")
    for line in bad[:SHOWN]:
        typer.echo(line)
    if len(bad) > SHOWN:
        typer.echo(f"... and {len(bad) - SHOWN} more; --json lists all")


def write_done(done: Mapping[str, Any]) -> None:
    """Say what `data cache` made and pruned."""
    if "report" in done:
        write_report({name: done[name] for name in ("source", "format", "cache")}, done["report"])
        if done["report"]["bad"]:
            typer.echo(f"\nthe bad rows are listed in {done['bad_rows']}")
    if "pruned" in done:
        pruned = done["pruned"]
        typer.echo(
            f"pruned {pruned['removed'] / GIGABYTE:.3f} GB, {pruned['left'] / GIGABYTE:.3f} GB left"
        )
        for name in pruned["data_sets"]:
            typer.echo(f"forgotten: {name}")
