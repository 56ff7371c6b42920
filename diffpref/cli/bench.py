"""`diffpref bench`: how fast this machine is at what diffpref does."""

from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from diffpref.cli import sample_options as options
from diffpref.cli.app import verb_app, write_columns, write_json
from diffpref.cli.machine import gemm_gflops, processor
from diffpref.cli.progress import progress_bars

app = verb_app("How fast this machine is at what diffpref does: score.")


@app.callback()
def verbs() -> None:
    """Keep `score` a word of its own although it is the only one."""


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
