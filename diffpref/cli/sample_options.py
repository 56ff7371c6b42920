"""The options of every verb that makes images, declared once."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from diffpref.evaluate.opened import Place
    from diffpref.models.sample import SampleSettings
    from diffpref.rewards import LoadedScorer

ModelA = Annotated[
    str,
    typer.Argument(
        metavar="A", help="builtin:base, a model, a run folder, or BASE+LORA: the one in question."
    ),
]
ModelB = Annotated[str, typer.Argument(metavar="B", help="What A is compared with.")]
Prompts = Annotated[
    str,
    typer.Option(
        "--prompts", help="A .txt or .jsonl file, builtin:prompts/test, or BENCHMARK:FILE."
    ),
]
Seeds = Annotated[
    list[str] | None, typer.Option("--seeds", help="One image per prompt and seed: 0,1,2.")
]
Scorers = Annotated[
    list[str] | None, typer.Option("--scorer", help="Who judges, separated by commas.")
]
Guidance = Annotated[
    float | None,
    typer.Option("--guidance", help="Classifier-free guidance; the family's own if absent."),
]
Steps = Annotated[int, typer.Option("--steps", help="Denoising steps.")]
Sampler = Annotated[str, typer.Option("--sampler", help="ddim, euler or dpm++.")]
Negative = Annotated[str, typer.Option("--negative", help="What not to show.")]
Height = Annotated[int | None, typer.Option("--height", help="Pixels; the model's own if absent.")]
Width = Annotated[int | None, typer.Option("--width", help="Pixels; the model's own if absent.")]
Batch = Annotated[int | None, typer.Option("--batch", min=1, help="Images made together.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1 or mps.")]
Dtype = Annotated[
    str | None,
    typer.Option("--dtype", help="fp32, bf16 or fp16; fp32 on a CPU and fp16 elsewhere if absent."),
]
LoraScale = Annotated[float, typer.Option("--lora-scale", help="Strength of LoRAs, 1 as trained.")]
Force = Annotated[bool, typer.Option("--force", help="Replace files that exist.")]
Json = Annotated[bool, typer.Option("--json", help="Write one JSON document.")]
Out = Annotated[Path | None, typer.Option("--out", help="Folder for results; a new one if absent.")]

WORLD = ("world-oracle", "world-fidelity", "world-reward")
"""The scorers of the bundled world."""


def place_of(device: str, dtype: str | None) -> "Place":
    """Return one device and precision for every model of a command, so that they compare."""
    from diffpref.config.fits import auto_device
    from diffpref.evaluate.opened import Place

    found = auto_device(device)
    return Place(device=found, dtype=dtype or ("fp32" if found == "cpu" else "fp16"))


def settings_of(
    guidance: float | None,
    steps: int,
    sampler: str,
    negative: str = "",
    *,
    height: int | None = None,
    width: int | None = None,
    batch: int | None = None,
) -> "SampleSettings":
    from diffpref.models.sample import SampleSettings

    return SampleSettings(
        guidance=guidance,
        steps=steps,
        sampler=sampler,
        negative=negative,
        height=height,
        width=width,
        batch=batch,
    )


def load_scorers(names: list[str], device: str) -> "list[LoadedScorer]":
    """Load scorers before any model is, so that a wrong name costs no time."""
    from diffpref.rewards import load_scorer

    return [load_scorer(name, device=device) for name in names]
