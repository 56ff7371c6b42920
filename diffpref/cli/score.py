"""`diffpref score`: what scorers think of images."""

import csv
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diffpref.cli import sample_options as options
from diffpref.cli.app import verb_app, write_columns, write_json
from diffpref.cli.progress import progress_bars
from diffpref.cli.values import words
from diffpref.errors import DataError, UsageError

if TYPE_CHECKING:
    from diffpref.rewards import ScoreResult

app = verb_app("Score images against their prompts.")

ENDINGS = {".png", ".jpg", ".jpeg", ".webp"}


@app.command()
def score(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Files or folders.")],
    *,
    prompt: Annotated[
        str | None, typer.Option("--prompt", help="The prompt of all images.")
    ] = None,
    prompts_file: Annotated[
        str | None, typer.Option("--prompts-file", help="One prompt per image, in their order.")
    ] = None,
    scorer: options.Scorers = None,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Images scored at once.")] = 32,
    out: Annotated[Path | None, typer.Option("--out", help="Also write this CSV file.")] = None,
    force: options.Force = False,
    device: options.Device = "auto",
    json: options.Json = False,
) -> None:
    """Score images against their prompts; higher is better.

    Without --prompt or --prompts-file, the prompt is read from each PNG that `generate` wrote.
    """
    from diffpref.config.fits import auto_device
    from diffpref.io import write_atomic

    if out is not None and out.exists() and not force:
        raise UsageError("exists already", where=str(out), hint="add --force, or name another file")
    files = _files(images)
    asked = _prompts(files, prompt, prompts_file)
    scorers = options.load_scorers(words(scorer, options.WORLD), auto_device(device))
    results: dict[str, ScoreResult] = {}
    with progress_bars() as bar:
        for each in scorers:
            tell = bar(each.info.id, "images")
            found = each.score(files, asked, batch_size=batch, progress=tell)
            results[each.info.id] = found
    if out is not None:
        write_atomic(out, _csv(files, asked, results))
    if json:
        write_json(_plain(files, asked, results))
    else:
        _show(files, results)


def _files(images: Sequence[Path]) -> list[Path]:
    """Expand folders into their images, by name."""
    found: list[Path] = []
    for path in images:
        if path.is_dir():
            inside = sorted(each for each in path.iterdir() if each.suffix.lower() in ENDINGS)
            if not inside:
                hint = f"images end in {', '.join(sorted(ENDINGS))}"
                raise DataError("holds no images", where=str(path), hint=hint)
            found += inside
        else:
            found.append(path)
    return found


def _prompts(files: Sequence[Path], prompt: str | None, source: str | None) -> list[str]:
    from diffpref.evaluate.prompts import read_prompts

    if prompt is not None and source is not None:
        what, hint = "give --prompt or --prompts-file, not both", "leave one out"
        raise UsageError(what, where="score", hint=hint)
    if prompt is not None:
        return [prompt] * len(files)
    if source is not None:
        found = read_prompts(source)
        if len(found) != len(files):
            hint = "give exactly one prompt per image, in the order of the images"
            raise DataError(f"{len(found)} prompts, {len(files)} images", where=source, hint=hint)
        return found
    return [_written_prompt(path) for path in files]


def _written_prompt(path: Path) -> str:
    from diffpref.io import BadImage, png_text

    try:
        texts = png_text(path)
    except BadImage as error:
        hint = "give --prompt or --prompts-file"
        raise DataError(
            f"no prompt can be read: {error.reason}", where=str(path), hint=hint
        ) from error
    if "prompt" not in texts:
        hint = "give --prompt or --prompts-file"
        raise DataError("the PNG names no prompt", where=str(path), hint=hint)
    return texts["prompt"]


def _plain(
    files: Sequence[Path], prompts: Sequence[str], results: "dict[str, ScoreResult]"
) -> list[dict[str, object]]:
    return [
        {
            "file": str(path),
            "prompt": prompts[row],
            "scores": {name: float(found.values[row]) for name, found in results.items()},
            "flags": {name: list(found.flags[row]) for name, found in results.items()},
        }
        for row, path in enumerate(files)
    ]


def _csv(files: Sequence[Path], prompts: Sequence[str], results: "dict[str, ScoreResult]") -> str:
    text = StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["file", "prompt", *results])
    for row, path in enumerate(files):
        scores = [float(found.values[row]) for found in results.values()]
        table.writerow([path, prompts[row], *scores])
    return text.getvalue()


def _show(files: Sequence[Path], results: "dict[str, ScoreResult]") -> None:
    table = [("file", *results)]
    table += [
        (str(path), *(f"{float(found.values[row]):.4f}" for found in results.values()))
        for row, path in enumerate(files)
    ]
    means = [f"{float(found.values.mean()):.4f}" for found in results.values()]
    write_columns([*table, ("mean", *means)])
