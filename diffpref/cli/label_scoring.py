"""What `diffpref label pairs` does with images once it has them, and what it says of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer

from diffpref.cli.progress import progress_bar

if TYPE_CHECKING:
    from diffpref.data.choose import Rule
    from diffpref.data.labels import LabelTable
    from diffpref.data.making import Made
    from diffpref.data.readers import RecordSource
    from diffpref.rewards import LoadedScorer

Kind = Literal["table", "pairs", "all-pairs", "lists"]

SHOWN = 5
"""Images named of those that were not labelled."""


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """Who scores, and where the result goes."""

    scorers: "Sequence[LoadedScorer]"
    out: Path
    batch: int
    dtype: str

    def table(self, source: "RecordSource") -> "Told":
        """Make a label table."""
        from diffpref.data.labelling import make_table

        with progress_bar("scoring", "rows") as tell:
            table, bad = make_table(
                source, self.scorers, self.out, batch=self.batch, dtype=self.dtype, progress=tell
            )
        return Told(out=self.out, table=table, bad=bad, use=f"data.labels={self.out}")

    def rows(
        self,
        source: "RecordSource",
        rule: "Rule",
        *,
        facts: Mapping[str, str],
    ) -> "Told":
        """Make a data set."""
        from diffpref.data.making import make_rows

        with progress_bar("scoring", "rows") as tell:
            made = make_rows(
                source,
                self.scorers,
                self.out,
                rule,
                facts=facts,
                batch=self.batch,
                dtype=self.dtype,
                progress=tell,
            )
        use = f"data.source={self.out}"
        return Told(out=self.out, table=made.table, bad=made.bad, use=use, made=made)


@dataclass(frozen=True, kw_only=True)
class Told:
    """What there is to say."""

    out: Path
    table: "LabelTable"
    bad: Sequence[str]
    use: str
    made: "Made | None" = None

    def plain(self) -> dict[str, Any]:
        """Return it for JSON."""
        if self.made is None:
            return {"table": str(self.out), **self.table.header, "bad": len(self.bad)}
        return {
            "out": str(self.out),
            "rows": self.made.kept,
            "prompts": self.made.prompts,
            "dropped": dict(self.made.dropped),
            "scorers": self.table.header["scorers"],
            "images": self.table.header["n"],
            "bad": len(self.bad),
        }

    def show(self) -> None:
        """Write it for people."""
        header = self.table.header
        if self.made is None:
            typer.echo(f"{self.out}: {header['n']} labels")
        else:
            told = f"{self.made.kept} rows of {self.made.prompts} prompts, {header['n']} images"
            typer.echo(f"{self.made.path}: {told}")
            self._show_dropped()
        for name, (low, high) in zip(header["scorers"], self.table.ranges, strict=True):
            typer.echo(f"{name}: {low:.4f} to {high:.4f}")
        if self.bad:
            typer.echo(f"{len(self.bad)} not labelled, for example:", err=True)
        for reason in self.bad[:SHOWN]:
            typer.echo(f"  {reason}", err=True)
        typer.echo(f"use it: diffpref train CONFIG {self.use}")

    def _show_dropped(self) -> None:
        from diffpref.data.choose import MEANING

        for reason, count in self.made.dropped.items() if self.made is not None else ():
            typer.echo(f"{count} dropped: {MEANING[reason]}")
