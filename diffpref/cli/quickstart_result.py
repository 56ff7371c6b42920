"""What `diffpref quickstart --personal` writes and says."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from diffpref.cli.app import write_columns, write_json

if TYPE_CHECKING:
    from torch import Tensor

    from diffpref.evaluate.pool import Pool
    from diffpref.evaluate.winrate import WinRate
    from diffpref.rewards import LoadedScorer

SHOWN = 6
"""Prompts on the picture, from the top."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the result: whose images against whose, by the person's true utility."""

    name: str
    rate: "WinRate"

    def plain(self) -> dict[str, float]:
        rate = self.rate
        return {"win_rate": rate.rate, "low": rate.low, "high": rate.high, "n": rate.n}


@dataclass(frozen=True, kw_only=True)
class Result:
    """Everything that was found: the summary, its lines, and the images by whose they are."""

    summary: Mapping[str, Any]
    rows: Sequence[Row]
    chosen: "Mapping[str, Tensor]"


def write_result(out: Path, result: Result, pool: "Pool", judge: "LoadedScorer") -> None:
    """Write compare.png, report.html and summary.json."""
    import torch

    from diffpref.evaluate.grid import grid
    from diffpref.evaluate.pool import comparison_of
    from diffpref.evaluate.report import write_report
    from diffpref.io import png_bytes, write_atomic
    from diffpref.io import write_json as save_json

    summary, rows, chosen = result.summary, result.rows, result.chosen
    images = torch.stack([each[:SHOWN] for each in chosen.values()])[:, :, None]
    sheet = grid(images, names=list(chosen), prompts=pool.prompts[:SHOWN], seeds=[pool.seed])
    facts = {"columns": ", ".join(chosen), "profile": str(summary["profile"]["sha256"])}
    write_atomic(out / "compare.png", png_bytes(sheet, facts))
    base = replace(pool.subject, name="base")
    told = {**pool.subject.facts, "profile": facts["profile"], "rerank": str(summary["tried"])}
    mine = replace(pool.subject, name="mine", facts=told)
    said = "; ".join(
        f"{row.name} {row.rate.rate:.3f} ({row.rate.low:.3f} to {row.rate.high:.3f})"
        for row in rows
    )
    votes, worth = summary["person"]["votes"], summary["profile"]["verdict"]
    write_report(
        out / "report.html",
        comparison_of(
            [judge], (mine, chosen["mine"]), (base, chosen["base"]), pool.prompts, seed=pool.seed
        ),
        title="diffpref quickstart --personal",
        environment={"machine": summary["machine"]},
        note=f"One simulated person, {votes} votes. By their true utility, 95 % interval over "
        f"{len(pool.prompts)} held-out prompts: {said}. Profile: {worth}. {summary['note']}",
    )
    save_json(out / "summary.json", summary)


def tell_result(out: Path, result: Result, json: bool) -> None:
    """Say what was found, and what it does not show."""
    summary, rows = result.summary, result.rows
    if json:
        write_json(summary)
        return
    head = ("by the person's true utility", "win rate", "95 % interval", "prompts")
    table = [
        (
            row.name,
            f"{row.rate.rate:.3f}",
            f"{row.rate.low:.3f} to {row.rate.high:.3f}",
            str(row.rate.n),
        )
        for row in rows
    ]
    write_columns([head, *table])
    typer.echo(
        f"profile: {summary['person']['votes']} votes, {summary['profile_bytes']} bytes; "
        f"{summary['profile']['verdict']}"
    )
    typer.echo("only 'mine vs population' and 'mine vs somebody else's' speak of this person")
    if summary["note"]:
        typer.echo(summary["note"])
    typer.echo(f"{summary['seconds']['total']:.0f} s; report: {out / 'report.html'}")
