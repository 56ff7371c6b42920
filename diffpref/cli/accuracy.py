"""`diffpref evaluate accuracy`: how often scorers agree with people, by a named protocol."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diffpref.cli import data_options as data
from diffpref.cli import sample_options as options
from diffpref.cli.app import write_json
from diffpref.cli.progress import progress_bars
from diffpref.cli.values import words
from diffpref.errors import UsageError, nearest

if TYPE_CHECKING:
    from diffpref.data.readers import RecordSource

Source = Annotated[
    str,
    typer.Argument(
        help="Pairs or ranked lists, as `data inspect` reads them; or a benchmark's result file."
    ),
]
Protocols = Annotated[
    list[str] | None,
    typer.Option("--protocol", help="What counts as right, see above; several by commas."),
]
Validation = Annotated[
    str | None, typer.Option("--validation", help="Pairs that a threshold is tuned on.")
]
ValidationSplit = Annotated[
    str, typer.Option("--validation-split", help="Which part of --validation.")
]
Labels = Annotated[
    Path | None, typer.Option("--labels", help="A label table's opinions instead of the votes.")
]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="Rows, from the top.")]
Batch = Annotated[int, typer.Option("--batch", min=1, help="Images scored at once.")]
Csv = Annotated[Path | None, typer.Option("--out", help="Also write every score to this CSV.")]


def accuracy(
    source: Source,
    *,
    protocol: Protocols = None,
    scorer: options.Scorers = None,
    validation: Validation = None,
    validation_split: ValidationSplit = "validation",
    labels: Labels = None,
    format: data.Format = None,
    split: data.Split = "test",
    limit: Limit = None,
    batch: Batch = 32,
    on_bad_row: data.OnBadRow = "skip",
    max_bad_fraction: data.MaxBad = 0.05,
    out: Csv = None,
    force: options.Force = False,
    device: options.Device = "auto",
    json: options.Json = False,
) -> None:
    """Say how often scorers agree with people, by named protocols.

    Protocols: pickapic_v1_paper, hpdv2_inversion, imagereward_micro, imagereward_per_prompt,
    strict_pairs. With geneval, hpsv2, dpg, compbench or imagereward, SOURCE is a result file of
    that benchmark's own evaluator, which is summarised, and there is no --scorer.
    """
    from diffpref.cli.accuracy_report import write_agreement
    from diffpref.config.fits import auto_device
    from diffpref.evaluate.agreement import Reading, agreement
    from diffpref.evaluate.scored import scores_csv
    from diffpref.io import write_atomic

    names, judges = _protocols(protocol), words(scorer)
    if _summarised(source, names, judges, json):
        return
    if out is not None and out.exists() and not force:
        raise UsageError("exists already", where=str(out), hint="add --force, or name another file")
    if not judges:
        raise UsageError("names no scorer", where="--scorer", hint="for example world-reward")
    sources, labellers = {}, []
    for part, place, which in (
        ("test", source, split),
        ("validation", validation, validation_split),
    ):
        if place is not None:
            sources[part], labellers = _open(place, format, which, labels)
    scorers = options.load_scorers(judges, auto_device(device))
    reading = Reading(
        limit=limit, batch=batch, on_bad_row=on_bad_row, max_bad_fraction=max_bad_fraction
    )
    with progress_bars() as bar:
        found = agreement(
            sources,
            scorers,
            names,
            labellers=labellers,
            reading=reading,
            progress=lambda part: bar(f"scoring {part}", "rows"),
        )
    if out is not None:
        write_atomic(out, scores_csv(found.scored, [info.id for info in found.infos]))
    if json:
        write_json(found.plain())
    write_agreement(found, out, table=not json)


def _protocols(given: list[str] | None) -> list[str]:
    from diffpref.evaluate.benchmarks import BENCHMARKS
    from diffpref.evaluate.protocols import PROTOCOLS

    names = words(given)
    known = [*PROTOCOLS, *(name for name, each in BENCHMARKS.items() if each.summarise)]
    if not names:
        about = "\n  ".join(f"{name}: {each.about}" for name, each in PROTOCOLS.items())
        raise UsageError("say what counts as right", where="--protocol", hint=about)
    for name in names:
        if name not in known:
            hint = nearest(name, known)
            raise UsageError(f"'{name}' is not a protocol", where="--protocol", hint=hint)
    return names


def _summarised(source: str, names: list[str], judges: list[str], json: bool) -> bool:
    """Summarise a benchmark's result file, if that is what the protocol asks for."""
    from diffpref.cli.accuracy_report import plain_summary, write_summary
    from diffpref.evaluate.benchmarks import BENCHMARKS
    from diffpref.evaluate.protocols import PROTOCOLS

    asked = [name for name in names if name not in PROTOCOLS]
    if not asked:
        return False
    summarise = BENCHMARKS[asked[0]].summarise
    if len(names) > 1 or judges or summarise is None:
        what = "a benchmark's results have one protocol, and its evaluator was the scorer"
        hint = f"diffpref evaluate accuracy FILE --protocol {asked[0]}"
        raise UsageError(what, where=f"--protocol {','.join(names)}", hint=hint)
    found = summarise(Path(source))
    if json:
        write_json(plain_summary(asked[0], source, found))
    else:
        write_summary(asked[0], found)
    return True


def _open(
    place: str, format: str | None, split: str, labels: Path | None
) -> "tuple[RecordSource, list[str]]":
    """Return the rows, and the scorers whose opinion the labels are."""
    from diffpref.data.labels import read_table, relabelled
    from diffpref.data.readers import open_records

    records = open_records(place, format=format, split=split)
    if labels is None:
        return records, []
    return relabelled(records, labels), list(read_table(labels).header["scorers"])
