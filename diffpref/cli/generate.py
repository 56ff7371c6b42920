"""`diffpref generate`: images of prompts, each with a record of how it was made."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from diffpref import __version__
from diffpref.cli import sample_options as options
from diffpref.cli.app import verb_app, write_json
from diffpref.cli.progress import progress_bar
from diffpref.errors import UsageError

if TYPE_CHECKING:
    from diffpref.evaluate.benchmarks.benchmark import Item, Layout
    from diffpref.evaluate.benchmarks.export import Exporter
    from diffpref.evaluate.opened import Opened, Place
    from diffpref.models.sample_settings import SampleSettings

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
    given the same list start from the same noise. Benchmarks: parti, hpsv2, pickapic, geneval, dpg,
    compbench, imagereward; docs/evaluation.md has a command line for each.
    """
    from diffpref.evaluate.benchmarks.export import Exporter, image_paths

    seeds = list(range(seed, seed + n))
    items, arranged = _asked(words or [], prompts, limit, seeds, layout)
    paths = image_paths(arranged, items, n, out)
    _refuse_existing([path for each in paths for path in each], force)
    exporter = Exporter(layout=arranged, items=items, n=n, root=out, paths=paths)
    settings = options.settings_of(
        guidance, steps, sampler, negative, height=height, width=width, batch=batch
    )
    opened = _open(model, run, lora, options.place_of(device, dtype), lora_scale)
    made = list(_write(opened, settings, exporter, seeds))
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


def _refuse_existing(targets: Sequence[Path], force: bool) -> None:
    there = [path for path in targets if path.exists()]
    if there and not force:
        more = f" and {len(there) - 1} more" if len(there) > 1 else ""
        hint = "choose another --out or --seed, or add --force"
        raise UsageError(f"exists already{more}", where=str(there[0]), hint=hint)


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


def _write(
    opened: "Opened", settings: "SampleSettings", exporter: "Exporter", seeds: Sequence[int]
) -> Iterator[dict[str, object]]:
    """Sample in batches and write each image as soon as it is there."""
    from diffpref.evaluate.pictures import to_bytes, to_picture
    from diffpref.evaluate.subject import sampling
    from diffpref.models.sample import sample
    from diffpref.models.sample_settings import image_size, images_at_once

    facts = {**opened.facts, **sampling(opened.bundle, settings), "diffpref": __version__}
    prompts = [item.prompt for item in exporter.items]
    size = images_at_once(settings, *image_size(opened.bundle, settings))
    total, done = len(prompts) * len(seeds), 0
    with progress_bar("generating", "images") as tell:
        tell(0, total)
        for k, part in _parts(len(prompts), len(seeds), size, joined=exporter.layout.join):
            images = sample(
                opened.bundle,
                [prompts[p] for p in part],
                seed=seeds[k],
                positions=part,
                settings=settings,
                on_progress=lambda some, _, before=done: tell(before + some, total),
            )
            for p, image in zip(part, images, strict=True):
                told = {"prompt": prompts[p], "seed": str(seeds[k]), "position": str(p), **facts}
                path = exporter.put(p, k, to_picture(to_bytes(image)), told)
                if path is not None:
                    yield {"file": str(path), "prompt": prompts[p], "seed": seeds[k]}
            done += len(part)


def _parts(prompts: int, seeds: int, size: int, *, joined: object) -> Iterator[tuple[int, range]]:
    """Yield (number of the seed, prompts), seed by seed; where images are joined, all of a prompt.

    Joined images wait in memory for the others of their prompt, so these must come soon.
    """
    chunks = [range(start, min(start + size, prompts)) for start in range(0, prompts, size)]
    if joined is None:
        yield from ((k, part) for k in range(seeds) for part in chunks)
    else:
        yield from ((k, part) for part in chunks for k in range(seeds))
