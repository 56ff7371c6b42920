"""`diffpref compare`: two models side by side, as a picture and as a one-file HTML report."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diffpref.cli import sample_options as options
from diffpref.cli.app import verb_app, write_json
from diffpref.cli.evaluate import write_rates
from diffpref.cli.progress import progress_bar
from diffpref.cli.values import whole_numbers, words
from diffpref.errors import UsageError

if TYPE_CHECKING:
    from diffpref.evaluate.compare import Comparison
    from diffpref.evaluate.opened import Opened

app = verb_app("Two models side by side: a grid PNG and a one-file HTML report.")

REPORT, GRID, SCORES = "report.html", "grid.png", "scores.csv"


@app.command()
def compare(
    a: options.ModelA,
    b: options.ModelB,
    *,
    prompts: options.Prompts = "builtin:prompts/test",
    n: Annotated[int, typer.Option("--n", min=1, help="Prompts, from the top.")] = 24,
    shown: Annotated[int, typer.Option("--shown", min=1, help="Prompts whose images show.")] = 24,
    seeds: options.Seeds = None,
    scorer: options.Scorers = None,
    guidance: options.Guidance = None,
    steps: options.Steps = 50,
    sampler: options.Sampler = "ddim",
    batch: options.Batch = None,
    lora_scale: options.LoraScale = 1.0,
    out: Annotated[Path, typer.Option("--out", help="The folder of the three files.")] = Path(
        "compare"
    ),
    force: options.Force = False,
    device: options.Device = "auto",
    dtype: options.Dtype = None,
    json: options.Json = False,
) -> None:
    """Show A and B on the same prompts and seeds: report.html, grid.png and scores.csv."""
    from diffpref.evaluate.compare import evaluate_pair
    from diffpref.evaluate.prompts import read_prompts
    from diffpref.evaluate.subject import open_model, subject_of

    _refuse_existing(out, force)
    place = options.place_of(device, dtype)
    scorers = options.load_scorers(words(scorer, options.WORLD), place.device)
    numbers = whole_numbers(seeds, "--seeds", [0])
    asked = read_prompts(prompts, limit=n)
    settings = options.settings_of(guidance, steps, sampler, batch=batch)
    first, second = (open_model(each, place=place, lora_scale=lora_scale) for each in (a, b))
    with progress_bar("comparing", "images") as tell:
        found = evaluate_pair(
            subject_of(first, settings),
            subject_of(second, settings),
            asked,
            seeds=numbers,
            scorers=scorers,
            shown=shown,
            on_progress=tell,
        )
    _write(found, first, out)
    if json:
        write_json({**found.plain(), "report": str(out / REPORT), "grid": str(out / GRID)})
    else:
        write_rates(found)
        typer.echo(f"\nreport: {out / REPORT}\ngrid:   {out / GRID}\nscores: {out / SCORES}")


def _refuse_existing(out: Path, force: bool) -> None:
    there = [out / name for name in (REPORT, GRID, SCORES) if (out / name).exists()]
    if there and not force:
        hint = "choose another --out, or add --force"
        raise UsageError("exists already", where=str(there[0]), hint=hint)


def _write(found: "Comparison", first: "Opened", out: Path) -> None:
    from io import BytesIO

    from diffpref.evaluate.grid import grid
    from diffpref.evaluate.report import write_report
    from diffpref.io import write_atomic

    out.mkdir(parents=True, exist_ok=True)
    # B stands on the left, as in the report: before and after.
    sheet = grid(
        found.images.flip(0),
        names=(found.b, found.a),
        prompts=found.prompts[: found.images.shape[1]],
        seeds=found.seeds,
    )
    buffer = BytesIO()
    sheet.save(buffer, format="PNG")
    write_atomic(out / GRID, buffer.getvalue())
    write_atomic(out / SCORES, found.csv())
    metrics, config = _training(first)
    write_report(
        out / REPORT,
        found,
        title=f"{found.a} against {found.b}",
        metrics=metrics,
        config=config,
        environment=environment(),
    )


def _training(opened: "Opened") -> tuple[list[dict[str, object]], str]:
    """Return the metrics and the configuration of a run, if the model is one."""
    from diffpref.train.log import METRICS, read_metrics

    if opened.run is None:
        return [], ""
    path = opened.run / METRICS
    config = (opened.run / "config.yaml").read_text(encoding="utf-8")
    return (read_metrics(path) if path.is_file() else []), config


def environment() -> Mapping[str, object]:
    """Return versions and machine for a report: no paths, no host names."""
    from diffpref.cli import machine
    from diffpref.run.folder import versions

    return {
        "versions": versions(),
        "machine": {
            "processor": machine.processor(),
            "cores": machine.cores(),
            "memory_gib": machine.memory_gib(),
            "accelerators": ", ".join(str(each["name"]) for each in machine.accelerators())
            or "none",
        },
    }
