"""`diffpref quickstart`: the main job on the bundled model, from pairs to an honest report."""

import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from diffpref.cli.app import verb_app
from diffpref.cli.progress import progress_bars
from diffpref.cli.quickstart_personal import Adapter, Personal, personal_quickstart
from diffpref.cli.quickstart_report import rate_of, tell_all, write_picture
from diffpref.errors import UsageError

if TYPE_CHECKING:
    from diffpref.config import RunConfig
    from diffpref.evaluate.compare import Comparison

app = verb_app("Align the bundled model on the bundled pairs and measure whether it worked.")

PRESET = "shapes/dpo"
PROMPTS = "builtin:prompts/test"
COUNT = 256
"""Held-out prompts, one seed each."""

SEED = 0
STEPS = 20
SCORERS = ("world-oracle", "world-fidelity", "world-reward")

Out = Annotated[
    Path | None, typer.Option(help="The run folder.", show_default="runs/quickstart[-personal]")
]
Json = Annotated[bool, typer.Option("--json", help="Write the summary as JSON.")]


@app.command()
def quickstart(
    *,
    out: Out = None,
    personal: Personal = False,
    adapter: Adapter = None,
    json: Json = False,
) -> None:
    """Align the bundled model with Diffusion-DPO and compare it with its base.

    Caches the bundled pairs, trains a LoRA, samples held-out prompts from both models with the
    same seeds, lets the exact oracle and the bundled reward judge, and writes report.html and
    summary.json. An unfinished quickstart is continued; a finished one is kept aside.

    --personal: a new simulated person votes on eight pairs; images of held-out prompts are
    re-ranked by their profile (or made by an adapter) and judged by their true utility.
    """
    if adapter is not None and not personal:
        hint = "diffpref quickstart --personal --adapter RUN"
        raise UsageError("is for --personal", where="--adapter", hint=hint)
    import torch

    from diffpref.cli.machine import cores

    if "OMP_NUM_THREADS" not in os.environ:  # who set it meant it
        torch.set_num_threads(min(2, cores()))
    began = time.monotonic()
    machine = _machine()
    out = out or Path("runs/quickstart-personal" if personal else "runs/quickstart")
    _set_aside(out)
    if personal:
        personal_quickstart(out, adapter, json, machine)
    else:
        _align(out, machine, began, json)


def _machine() -> dict[str, object]:
    """Say what the numbers were measured on."""
    import torch

    from diffpref.cli.machine import gemm_gflops, memory_gib, processor

    return {
        "gemm_gflops": round(gemm_gflops(), 1),
        "processor": processor(),
        "threads": torch.get_num_threads(),
        "memory_gib": memory_gib(),
        "device": "cpu",
        "dtype": "fp32",
    }


def _align(out: Path, machine: dict[str, object], began: float, json: bool) -> None:
    """Train, compare, and write what was found."""
    from diffpref.assets import find_config
    from diffpref.config import dump_config, load_config
    from diffpref.evaluate.report import write_report
    from diffpref.io import write_json as save_json
    from diffpref.run.folder import versions
    from diffpref.train.log import read_metrics

    config = load_config(find_config(PRESET), [f"data.cache={out / 'cache'}"])
    with progress_bars() as bar:
        trained = time.monotonic()
        _train(config, out, bar)
        measured = time.monotonic()
        comparison = _compare(out, bar("sampling", "images"))
        ended = time.monotonic()
    summary = {
        "oracle": rate_of(comparison, "world-oracle"),
        "reward": rate_of(comparison, "world-reward"),
        "fidelity": dict(zip(("aligned", "base"), comparison.means("world-fidelity"), strict=True)),
        "seconds": {
            "train": round(measured - trained, 1),
            "evaluate": round(ended - measured, 1),
            "total": round(time.monotonic() - began, 1),
        },
        "versions": versions(),
        "machine": machine,
    }
    (out / "scores.csv").write_text(comparison.csv(), encoding="utf-8")
    write_picture(out / "samples.png", comparison)
    write_report(
        out / "report.html",
        comparison,
        title="diffpref quickstart",
        metrics=read_metrics(out / "metrics.jsonl"),
        config=dump_config(config),
        environment={"machine": machine, "versions": summary["versions"]},
        note=f"Diffusion-DPO on the bundled pairs, {config.loop.steps} steps; aligned against "
        "base on held-out prompts, same seeds.",
    )
    save_json(out / "summary.json", summary)
    tell_all(summary, comparison, out, json)


def _set_aside(out: Path) -> None:
    """Keep a finished quickstart under another name, so that this one starts anew."""
    if (out / "summary.json").is_file():
        stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
        kept = out.with_name(f"{out.name}-until-{stamp}")
        out.rename(kept)
        typer.echo(f"the earlier quickstart is kept in {kept}", err=True)


def _train(config: "RunConfig", out: Path, bar: Any) -> None:
    from diffpref.cli.train import watching
    from diffpref.run.execute import execute

    execute(config, out, resume="auto", watch=watching(config, bar))


def _compare(out: Path, tell: Any) -> "Comparison":
    """Sample base and aligned from the same noise and score both."""
    from diffpref.evaluate.compare import evaluate_pair
    from diffpref.evaluate.prompts import read_prompts
    from diffpref.evaluate.subject import open_model, subject_of
    from diffpref.models.sample import SampleSettings
    from diffpref.rewards import load_scorer

    how = SampleSettings(steps=STEPS)
    aligned, base = (subject_of(open_model(name), how) for name in (str(out), "builtin:base"))
    return evaluate_pair(
        aligned,
        base,
        read_prompts(PROMPTS, limit=COUNT),
        seeds=(SEED,),
        scorers=[load_scorer(name) for name in SCORERS],
        on_progress=tell,
    )
