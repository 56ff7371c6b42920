"""`diffpref score`: what scorers think of images."""

from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diffpref.cli import sample_options as sampling
from diffpref.cli import scorer_options as options
from diffpref.cli.app import verb_app, write_columns, write_json
from diffpref.cli.progress import progress_bars
from diffpref.cli.score_troubles import tell_left_out, write_troubles
from diffpref.cli.values import words
from diffpref.errors import DataError, UsageError

if TYPE_CHECKING:
    from diffpref.evaluate.scoring import ScoredImages
    from diffpref.rewards import LoadedScorer

app = verb_app("Score images against their prompts.")

Images = Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Files or folders.")]
PromptsFile = Annotated[
    str | None, typer.Option("--prompts-file", help="One prompt per image, in their order.")
]
Batch = Annotated[int, typer.Option("--batch", min=1, help="Images scored at once.")]
Out = Annotated[
    Path | None, typer.Option("--out", help="Also write this .csv, .parquet or .json file.")
]
Report = Annotated[
    Path | None, typer.Option("--report", help="Also write this .html file, histograms and all.")
]
SkipBad = Annotated[
    bool, typer.Option("--skip-bad", help="Report images that cannot be scored, and go on.")
]


@app.command()
def score(
    images: Images,
    *,
    prompt: options.Prompt = None,
    prompts_file: PromptsFile = None,
    prompts_from: options.PromptsFrom = None,
    scorer: sampling.Scorers = None,
    weights_dir: options.WeightsDir = None,
    weights: options.Weights = None,
    any_size: options.AnySize = False,
    dtype: options.Dtype = "fp32",
    batch: Batch = 32,
    skip_bad: SkipBad = False,
    out: Out = None,
    report: Report = None,
    force: sampling.Force = False,
    device: sampling.Device = "auto",
    json: sampling.Json = False,
) -> None:
    """Score images against their prompts; higher is better.

    Without a prompt option, the prompt is read from each PNG that `generate` wrote. With --out a
    killed run goes on where it was: what is done stands in a journal beside the file, by the
    content of the image, its prompt, and the scorer with its weights.
    """
    from diffpref.config.fits import auto_device
    from diffpref.evaluate.asked import image_files
    from diffpref.evaluate.score_files import plain_rows, write_scores
    from diffpref.evaluate.scoring import score_images

    _refuse(out, report, force)
    files = image_files(images)
    tell_left_out(images)
    scorers = options.load_scorers(
        _asked_scorers(scorer, files, skip_bad),
        auto_device(device),
        weights=weights,
        weights_dir=weights_dir,
        dtype=dtype,
        any_size=any_size,
    )
    asked = _prompts(files, prompt, prompts_file, prompts_from, scorers)
    journal = None if out is None else out.with_name(f"{out.name}.partial")
    with progress_bars() as bar:
        scored = score_images(
            files,
            asked,
            scorers,
            dtype=dtype,
            batch=batch,
            journal=journal,
            skip_bad=skip_bad,
            progress=lambda name: bar(name, "images"),
        )
    if out is not None:
        write_scores(out, scored)
    if report is not None:
        _report(report, scored, dtype)
    if journal is not None:
        journal.unlink(missing_ok=True)
    if json:
        write_json(plain_rows(scored))
    else:
        _show(scored)


def _refuse(out: Path | None, report: Path | None, force: bool) -> None:
    from diffpref.evaluate.score_files import check_ending

    if out is not None:
        check_ending(out)
    for path in (out, report):
        if path is not None and path.exists() and not force:
            hint = "add --force, or name another file"
            raise UsageError("exists already", where=str(path), hint=hint)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)


def _prompts(
    files: Sequence[Path],
    prompt: str | None,
    lines: str | None,
    source: str | None,
    scorers: "Sequence[LoadedScorer]",
) -> list[str]:
    from diffpref.evaluate.asked import asked_of
    from diffpref.evaluate.prompts import read_prompts

    given = {"--prompt": prompt, "--prompts-file": lines, "--prompts-from": source}
    told = [name for name, value in given.items() if value is not None]
    if len(told) > 1:
        raise UsageError(
            f"give {told[0]} or {told[1]}, not both", where="score", hint="leave one out"
        )
    if lines is not None:
        found = read_prompts(lines)
        if len(found) != len(files):
            hint = "give exactly one prompt per image, in the order of the images"
            raise DataError(f"{len(found)} prompts, {len(files)} images", where=lines, hint=hint)
        return found
    if not told and not any(each.info.needs_prompt for each in scorers):
        return [""] * len(files)
    hint = "give --prompt, --prompts-file or --prompts-from"
    return asked_of(files, prompt=prompt, source=source, hint=hint)


def _asked_scorers(told: Sequence[str] | None, files: Sequence[Path], skip_bad: bool) -> list[str]:
    """Return the scorers named, or the bundled world's for its own pictures.

    Raises:
        UsageError: none is named, and a picture is not of that world.
    """
    from diffpref.io import BadImage
    from diffpref.io.image_headers import read_header
    from diffpref.io.images import read_image_bytes
    from diffpref.world.scene import SIDE

    for file in files if not (told or skip_bad) else ():
        try:
            header = read_header(read_image_bytes(file))
        except BadImage:
            continue  # the scorers say what is wrong with it
        if (header.width, header.height) != (SIDE, SIDE):
            what = f"names no scorer, and {file} is {header.width} x {header.height} pixels"
            hint = (
                f"name a --scorer, such as pickscore or brightness; `diffpref scorers` lists "
                f"them; without one the bundled world's judge its pictures of {SIDE} x {SIDE}"
            )
            raise UsageError(what, where="score", hint=hint)
    return words(told, sampling.WORLD)


def _report(path: Path, scored: "ScoredImages", dtype: str) -> None:
    from diffpref.evaluate.score_report import write_score_report

    folders = list(dict.fromkeys(file.resolve().parent.name for file in scored.files))
    title = folders[0] if len(folders) == 1 else f"{len(folders)} folders"
    write_score_report(path, scored, title=f"{title}: {', '.join(scored.verdicts)}", dtype=dtype)


def _show(scored: "ScoredImages") -> None:
    table = [("file", *scored.verdicts)]
    table += [
        (str(file), *(f"{each[row].value:.4f}" for each in scored.verdicts.values()))
        for row, file in enumerate(scored.files)
    ]
    means: list[str] = []
    for name in scored.verdicts:
        finite = [value for value in scored.values(name) if isfinite(value)]
        means.append(f"{sum(finite) / len(finite):.4f}" if finite else "-")
    write_columns([*table, ("mean", *means)])
    write_troubles(scored)
