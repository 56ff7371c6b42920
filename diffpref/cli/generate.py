"""`diffpref generate`: images of prompts, each with a record of how it was made."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from diffpref.cli import personal_options as personal
from diffpref.cli import sample_options as options
from diffpref.cli import scorer_options as scoring
from diffpref.cli.app import verb_app, write_json
from diffpref.cli.generate_personal import write_personal
from diffpref.cli.generate_write import Job, write_plain
from diffpref.errors import UsageError

if TYPE_CHECKING:
    from diffpref.evaluate.benchmarks.benchmark import Item, Layout
    from diffpref.evaluate.opened import Opened, Place

app = verb_app("Make images of prompts, as PNG files that say how they were made.")

Words = Annotated[
    list[str] | None, typer.Argument(metavar="[PROMPT]...", help="What to show, quoted.")
]
File = Annotated[
    str | None,
    typer.Option(
        "--prompts", help="A .txt or .jsonl file, builtin:prompts/test, or BENCHMARK:FILE."
    ),
]
Arrangement = Annotated[
    Literal["flat", "benchmark"],
    typer.Option("--layout", help="One folder, or what the benchmark's own evaluator reads."),
]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="Prompts of the file to use.")]
Model = Annotated[
    str, typer.Option("--model", help="builtin:base, a folder, a file, a hub id, or BASE+LORA.")
]
Run = Annotated[Path | None, typer.Option("--run", help="A run folder, instead of --model.")]
Lora = Annotated[str | None, typer.Option("--lora", help="A LoRA folder, file or hub id.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Of the first image of each prompt.")]
Count = Annotated[int, typer.Option("--n", min=1, help="Images per prompt: seed, seed + 1 ...")]
Folder = Annotated[Path, typer.Option("--out", help="The folder of the images.")]


@app.command()
def generate(
    words: Words = None,
    *,
    prompts: File = None,
    limit: Limit = None,
    model: Model = "builtin:base",
    run: Run = None,
    lora: Lora = None,
    lora_scale: options.LoraScale = 1.0,
    profile: personal.Profile = None,
    strength: personal.Strength = 1.0,
    adapter: personal.Adapter = None,
    rerank: personal.Rerank = None,
    compare: personal.Compare = False,
    other: personal.Other = None,
    prior: personal.PriorName = None,
    weights_dir: scoring.WeightsDir = None,
    seed: Seed = 0,
    n: Count = 1,
    guidance: options.Guidance = None,
    steps: options.Steps = 50,
    sampler: options.Sampler = "ddim",
    negative: options.Negative = "",
    height: options.Height = None,
    width: options.Width = None,
    batch: options.Batch = None,
    out: Folder = Path("samples"),
    layout: Arrangement = "flat",
    force: options.Force = False,
    device: options.Device = "auto",
    dtype: options.Dtype = None,
    json: options.Json = False,
) -> None:
    """Make images of prompts, as PNG files that say how they were made.

    The noise of an image depends on its seed and on its prompt's place in the list, so two models
    given the same list start from the same noise. --profile makes them for one person, through a
    user adapter (--adapter, or a --run that trained one), by re-ranking (--rerank 16, which any
    model can), or both; without a profile, or at --strength 0, an adapter changes not one bit.
    --compare shows base, population, mine and somebody else's side by side.

    Benchmarks: parti, hpsv2, pickapic, geneval, dpg, compbench, imagereward; docs/evaluation.md has
    a command line for each.
    """
    asked = personal.asked_of(
        profile,
        strength=strength,
        rerank=rerank,
        compare=compare,
        other=other,
        prior=prior,
        weights_dir=weights_dir,
        device=device,
        layout=layout,
        n=n,
    )
    seeds = list(range(seed, seed + n))
    items, arranged = _asked(words or [], prompts, limit, seeds, layout)
    job = Job(
        items=items,
        layout=arranged,
        settings=options.settings_of(
            guidance, steps, sampler, negative, height=height, width=width, batch=batch
        ),
        seeds=seeds,
        out=out,
        force=force,
    )
    place = options.place_of(device, dtype)

    def opened() -> "Opened":
        found = _open(model, run, lora, place, lora_scale)
        return found if adapter is None else _adapted(found, adapter)

    if asked is None:
        made = list(write_plain(job, opened))
    else:
        made = write_personal(job, opened, asked, near=adapter or run)
    if json:
        write_json(made)
    else:
        for each in made:
            typer.echo(each["file"])


def _asked(
    words: Sequence[str],
    file: str | None,
    limit: int | None,
    seeds: Sequence[int],
    layout: str,
) -> "tuple[list[Item], Layout]":
    """Return what to show and where the images go."""
    from diffpref.evaluate.benchmarks.source import arranged_prompts, flat_prompts
    from diffpref.evaluate.prompts import read_prompts

    if bool(words) == (file is not None):
        what = "give prompts or --prompts FILE" if not words else "give prompts or a file, not both"
        hint = 'diffpref generate "two red circles on the left"'
        raise UsageError(what, where="generate", hint=hint)
    if layout == "benchmark":
        items, found = arranged_prompts(file or "", limit=limit)
        if found.published != len(seeds):
            note = f"published numbers have {found.published} images per prompt, not {len(seeds)}"
            typer.echo(f"note: {note} (--n)", err=True)
        return items, found
    return flat_prompts(words if file is None else read_prompts(file, limit=limit), seeds)


def _open(
    model: str, run: Path | None, lora: str | None, place: "Place", lora_scale: float
) -> "Opened":
    from diffpref.evaluate.runs import CONFIG
    from diffpref.evaluate.subject import open_model, open_with_lora

    if run is not None and not (run / CONFIG).is_file():
        hint = "a run folder holds config.yaml; a LoRA alone is given with --lora"
        raise UsageError("is not a run folder", where=str(run), hint=hint)
    if run is not None and lora is not None:
        hint = "merge them first, or give the base with --model and the LoRA with --lora"
        raise UsageError("a run has its own LoRA", where="--lora", hint=hint)
    if lora is not None:
        return open_with_lora(model, lora, place=place, lora_scale=lora_scale)
    return open_model(model if run is None else str(run), place=place, lora_scale=lora_scale)


def _adapted(opened: "Opened", adapter: Path) -> "Opened":
    """Put a user adapter on a model; say so if it was trained on another one."""
    from diffpref.evaluate.personal import base_of_adapter, open_adapter

    wanted = base_of_adapter(adapter)
    if wanted not in {None, opened.bundle.fingerprint}:
        note = f"{adapter.name} was trained on another base than {opened.name}; look at the images"
        typer.echo(f"note: {note}", err=True)
    return open_adapter(opened, adapter)
