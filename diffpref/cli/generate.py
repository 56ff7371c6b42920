"""`diffpref generate`: images of prompts, each with a record of how it was made."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diffpref import __version__
from diffpref.cli import sample_options as options
from diffpref.cli.app import verb_app, write_json
from diffpref.cli.progress import progress_bar
from diffpref.errors import UsageError

if TYPE_CHECKING:
    from diffpref.evaluate.opened import Opened, Place
    from diffpref.models.sample import SampleSettings

app = verb_app("Make images of prompts, as PNG files that say how they were made.")

Words = Annotated[
    list[str] | None, typer.Argument(metavar="[PROMPT]...", help="What to show, quoted.")
]
File = Annotated[
    str | None, typer.Option("--prompts", help="A .txt or .jsonl file, or builtin:prompts/test.")
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
    force: options.Force = False,
    device: options.Device = "auto",
    dtype: options.Dtype = None,
    json: options.Json = False,
) -> None:
    """Make images of prompts, as PNG files that say how they were made.

    The noise of an image depends on its seed and on its prompt's place in the list, so two models
    given the same list start from the same noise.
    """
    asked = _asked(words or [], prompts, limit)
    seeds = list(range(seed, seed + n))
    targets = [out / f"{p:04d}-{each}.png" for each in seeds for p in range(len(asked))]
    _refuse_existing(targets, force)
    settings = options.settings_of(
        guidance, steps, sampler, negative, height=height, width=width, batch=batch
    )
    opened = _open(model, run, lora, options.place_of(device, dtype), lora_scale)
    made = list(_write(opened, settings, asked, seeds, out))
    if json:
        write_json(made)
    else:
        for each in made:
            typer.echo(each["file"])


def _asked(words: Sequence[str], file: str | None, limit: int | None) -> list[str]:
    from diffpref.evaluate.prompts import read_prompts

    if bool(words) == (file is not None):
        what = "give prompts or --prompts FILE" if not words else "give prompts or a file, not both"
        hint = 'diffpref generate "two red circles on the left"'
        raise UsageError(what, where="generate", hint=hint)
    return list(words) if file is None else read_prompts(file, limit=limit)


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
    opened: "Opened",
    settings: "SampleSettings",
    prompts: Sequence[str],
    seeds: Sequence[int],
    out: Path,
) -> Iterator[dict[str, object]]:
    """Sample in batches and write each image as soon as it is there."""
    from diffpref.evaluate.pictures import png, to_bytes
    from diffpref.evaluate.subject import sampling
    from diffpref.io import write_atomic
    from diffpref.models.sample import sample
    from diffpref.models.sample_settings import image_size, images_at_once

    facts = {**opened.facts, **sampling(opened.bundle, settings)}
    size = images_at_once(settings, *image_size(opened.bundle, settings))
    total, done = len(prompts) * len(seeds), 0
    out.mkdir(parents=True, exist_ok=True)
    with progress_bar("generating", "images") as tell:
        tell(0, total)
        for seed in seeds:
            for start in range(0, len(prompts), size):
                part = range(start, min(start + size, len(prompts)))
                images = sample(
                    opened.bundle,
                    [prompts[p] for p in part],
                    seed=seed,
                    positions=part,
                    settings=settings,
                    on_progress=lambda some, _, before=done: tell(before + some, total),
                )
                for p, image in zip(part, images, strict=True):
                    path = out / f"{p:04d}-{seed}.png"
                    told = {"prompt": prompts[p], "seed": str(seed), "position": str(p), **facts}
                    write_atomic(path, png(to_bytes(image), {**told, "diffpref": __version__}))
                    yield {"file": str(path), "prompt": prompts[p], "seed": seed}
                done += len(part)
