"""`diffpref bench`: how fast this machine is at what diffpref does."""

from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from diffpref.cli import bench_step
from diffpref.cli import sample_options as options
from diffpref.cli.app import verb_app, write_columns, write_json
from diffpref.cli.machine import gemm_gflops, processor
from diffpref.cli.progress import progress_bars

app = verb_app(
    "How fast this machine is at a run's steps, at reading its data and at scoring, and how much "
    "arithmetic training is: step, data, score, flops."
)
app.command()(bench_step.step)
app.command()(bench_step.data)


@app.command()
def flops(
    methods: Annotated[
        list[str] | None, typer.Argument(metavar="[METHOD]...", help="All when left out.")
    ] = None,
    *,
    model: Annotated[
        str, typer.Option("--model", help="sd15, sdxl, or a base; only its configs are read.")
    ] = "sd15",
    adapter: Annotated[str, typer.Option("--adapter", help="full or lora (rank 16).")] = "full",
    side: Annotated[
        int | None, typer.Option("--px", min=8, help="Pixels a side; the model's own if absent.")
    ] = None,
    json: options.Json = False,
) -> None:
    """Count the arithmetic of a pass and of every method, on shapes: no weights, no GPU.

    TFLOP per pair (or whatever a method learns from), two operations per multiply-add; norms and
    the optimizer are left out, and so are sampling of online methods and feature networks of ncp_*.
    """
    from diffpref.bench.flops import ADAPTERS, TERA, method_flops, pass_flops
    from diffpref.catalogue import METHODS, find_method
    from diffpref.errors import UsageError, nearest
    from diffpref.models.family import FAMILIES

    if adapter not in ADAPTERS:
        hint = nearest(adapter, list(ADAPTERS))
        raise UsageError(f"'{adapter}' is not an adapter to count", where="--adapter", hint=hint)
    names = methods or list(METHODS)
    for name in names:
        find_method(name)
    base = FAMILIES[model].configs if model in FAMILIES else model
    found = pass_flops(base, ADAPTERS[adapter], side)
    counted = method_flops(found, names)
    if json:
        write_json({"pass": asdict(found), "methods": [asdict(each) for each in counted]})
        return
    write_columns(
        [
            ("one image", "TFLOP"),
            ("forward", f"{found.forward / TERA:.4f}"),
            ("backward", f"{found.backward / TERA:.4f}"),
        ]
    )
    typer.echo("")
    rows = [
        (m.name, m.per, f"{m.without:g}", f"{m.graded:g}", f"{m.flops / TERA:.3f}") for m in counted
    ]
    write_columns([("method", "per", "images, no gradient", "with", "TFLOP"), *rows])


@app.command()
def score(
    *,
    size: Annotated[
        str, typer.Option("--size", help="vit-b-32, vit-l-14 or vit-h-14 (PickScore, HPSv2).")
    ] = "vit-b-32",
    prompts: Annotated[int, typer.Option("--prompts", min=1, help="Distinct prompts.")] = 500,
    images: Annotated[int, typer.Option("--images", min=1, help="Images of each prompt.")] = 4,
    loop_images: Annotated[
        int, typer.Option("--loop-images", min=1, help="How many of them the plain loop scores.")
    ] = 100,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Images scored at once.")] = 32,
    device: options.Device = "auto",
    dtype: Annotated[str, typer.Option("--dtype", help="fp32, bf16 or fp16.")] = "fp32",
    out: Annotated[Path | None, typer.Option("--out", help="Also write this JSON file.")] = None,
    json: options.Json = False,
) -> None:
    """Score images in batches and, in the same run, one by one; full size, random weights.

    The plain loop opens, prepares and scores one image after another, as most scripts do. Both
    give the same scores; the ratio says what batches, threads and prompts embedded once are worth.
    """
    from diffpref.bench.score import score_speed
    from diffpref.config.fits import auto_device
    from diffpref.io import write_json as save_json
    from diffpref.rewards.load import precision

    with progress_bars() as bar, TemporaryDirectory() as folder:
        found = score_speed(
            Path(folder),
            size=size,
            prompts=prompts,
            images_per_prompt=images,
            loop_images=loop_images,
            batch=batch,
            device=auto_device(device),
            dtype=precision(dtype, where="--dtype"),
            progress=bar("scoring", "images"),
        )
    machine = {"processor": processor(), "gemm_gflops": gemm_gflops()}
    told = {**asdict(found), "machine": machine}
    if out is not None:
        save_json(out, told)
    if json:
        write_json(told)
        return
    write_columns(
        [
            ("way", "images/s"),
            ("one by one", f"{found.loop:.2f}"),
            (f"batches of {batch}", f"{found.ours:.2f}"),
            ("ratio", f"{found.ratio:.2f}"),
        ]
    )
