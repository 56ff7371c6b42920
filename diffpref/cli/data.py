"""`diffpref data`: look at preference data, encode it once, and check the cache."""

from dataclasses import asdict

import typer

from diffpref.cli import data_options as options
from diffpref.cli.app import verb_app, write_json
from diffpref.cli.data_cache import GIGABYTE, cache, filters_of, loaded
from diffpref.cli.data_report import write_bad, write_report
from diffpref.cli.progress import progress_bar

app = verb_app("Look at preference data, encode it once, and check the cache.")

BAD_DATA = 4


@app.command()
def inspect(
    source: options.Source,
    *,
    format: options.Format = None,
    split: options.Split = "train",
    ties: options.Ties = "drop",
    absolute_winners: options.Absolute = False,
    generator: options.Generator = "",
    min_side: options.MinSide = 0,
    max_pairs: options.MaxPairs = None,
    rows: options.Rows = None,
    base: options.TokenizerOf = None,
    json: options.Json = False,
) -> None:
    """Read every row and image as a run would, and say what it would keep.

    Of the rollouts/ folder of an online run: what was sampled, at which t, with which gaps.

    Exits with 4 when no row could be used.
    """
    from diffpref.data.inspect import inspect_source
    from diffpref.data.readers import holds_rounds, open_records

    if holds_rounds(source):
        from diffpref.cli.data_rounds import inspect_rounds

        if not inspect_rounds(source, json=json):
            raise typer.Exit(BAD_DATA)
        return
    opened = open_records(source, format=format, split=split)
    filters = filters_of(ties, absolute_winners, generator, min_side, max_pairs)
    overlong = None if base is None else loaded(base).text.overlong
    with progress_bar("inspecting") as tell:
        found = inspect_source(
            opened, filters=filters, limit=rows, overlong=overlong, progress=tell
        )
    if json:
        bad = [row.plain() for row in found.bad]
        write_json({"format": opened.format, "report": found.report.plain(), "bad_rows": bad})
    else:
        write_report({"source": source, "format": opened.format}, found.report.plain())
        write_bad([str(row) for row in found.bad])
    if not found.report.kept:
        raise typer.Exit(BAD_DATA)


app.command()(cache)


@app.command()
def export(
    source: options.RoundsFolder,
    out: options.OutFolder,
    *,
    base: options.BaseOfRounds = None,
    device: options.Device = "cpu",
    json: options.Json = False,
) -> None:
    """Write the images that an online run sampled and judged as a data set: metadata.jsonl, PNGs.

    For rounds of methods on whole images (online_dpo, nft, ...); any offline run learns from OUT.
    """
    from diffpref.cli.data_rounds import export_rounds

    export_rounds(str(source), out, base=base, device=device, json=json)


@app.command()
def verify(folder: options.Folder, *, json: options.Json = False) -> None:
    """Check the sha256 of every file of a cache. Exits with 4 when something is damaged."""
    from diffpref.data.care import verify as verify_cache

    with progress_bar("verifying", "shards") as tell:
        verdict = verify_cache(folder, progress=tell)
    if json:
        write_json(asdict(verdict))
    else:
        for problem in verdict.problems:
            typer.echo(problem)
        typer.echo(
            f"{verdict.data_sets} data sets, {verdict.shards} shards, "
            f"{verdict.size / GIGABYTE:.3f} GB, {len(verdict.problems)} problems"
        )
        if verdict.problems:
            typer.echo("delete the named files and run `diffpref data cache` again")
    if verdict.problems:
        raise typer.Exit(BAD_DATA)
