"""`diffpref label`: scorers' opinions as training labels."""

from pathlib import Path
from typing import Annotated

import typer

from diffpref.cli import data_options as data
from diffpref.cli import label_prompts
from diffpref.cli import sample_options as options
from diffpref.cli.app import verb_app, write_json
from diffpref.cli.progress import progress_bars
from diffpref.cli.values import words
from diffpref.errors import UsageError

app = verb_app("Scorers' opinions as training labels.")
app.command()(label_prompts.prompts)

SHOWN = 5


@app.command()
def pairs(
    source: data.Source,
    *,
    out: Annotated[Path, typer.Option("--out", help="The label table, a .jsonl file.")],
    scorer: options.Scorers = None,
    format: data.Format = None,
    split: data.Split = "train",
    batch: Annotated[int, typer.Option("--batch", min=1, help="Images scored at once.")] = 32,
    force: options.Force = False,
    device: options.Device = "auto",
    json: options.Json = False,
) -> None:
    """Score every image of SOURCE with its prompt and keep the scores in a label table.

    Train with data.labels=TABLE: one scorer's scores, normalised to 0..1 over the data set,
    replace the votes (for SmPO, ODPO, or to relabel any method); several scorers give each image
    the share of comparisons it wins (for RankDPO). A stopped run goes on where it was.
    """
    from diffpref.config.fits import auto_device
    from diffpref.data.labels import make_table
    from diffpref.data.readers import open_records

    if out.exists() and not force:
        raise UsageError("exists already", where=str(out), hint="add --force, or name another file")
    if not scorer:
        raise UsageError("names no scorer", where="--scorer", hint="for example world-reward")
    records = open_records(source, format=format, split=split)
    scorers = options.load_scorers(words(scorer, ()), auto_device(device))
    with progress_bars() as bar:
        table, bad = make_table(records, scorers, out, batch=batch, progress=bar("scoring", "rows"))
    if json:
        write_json({"table": str(out), **table.header, "bad": len(bad)})
        return
    typer.echo(f"{out}: {table.header['n']} labels")
    for name, (low, high) in zip(table.header["scorers"], table.ranges, strict=True):
        typer.echo(f"{name}: {low:.4f} to {high:.4f}")
    if bad:
        typer.echo(f"{len(bad)} not labelled, for example:", err=True)
    for reason in bad[:SHOWN]:
        typer.echo(f"  {reason}", err=True)
    typer.echo(f"use it: diffpref train CONFIG data.labels={out}")
