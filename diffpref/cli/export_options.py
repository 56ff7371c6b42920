"""The options of `diffpref export`, declared once."""

from pathlib import Path
from typing import Annotated, Literal

import typer

Run = Annotated[
    str, typer.Argument(metavar="RUN", help="A run folder, or BASE+LORA to write a LoRA anew.")
]
Out = Annotated[
    Path,
    typer.Argument(metavar="OUT", help="A new folder; with --as kohya also NAME.safetensors."),
]
FormName = Literal["diffusers", "peft", "kohya", "pipeline", "user"]
As = Annotated[
    FormName | None,
    typer.Option("--as", help="The form; what suits the training if absent."),
]
Weights = Annotated[
    Literal["result", "ema", "last"],
    typer.Option(
        "--weights",
        help="The run's result; or a checkpoint's running average, or its weights as trained.",
    ),
]
Checkpoint = Annotated[
    str,
    typer.Option("--checkpoint", help="With --weights ema or last: newest, best, or a step."),
]
Dtype = Annotated[
    Literal["fp32", "fp16", "bf16"] | None,
    typer.Option("--dtype", help="Precision of the files; as trained if absent."),
]
Profile = Annotated[
    Path | None,
    typer.Option("--profile", help="With --as user: a person's profile to lie beside it."),
]
Results = Annotated[
    Path | None,
    typer.Option("--results", help="A winrate.json of `evaluate winrate`, for the card."),
]
Licence = Annotated[
    str | None, typer.Option("--licence", help="Of the result; the base's if absent.")
]
Check = Annotated[
    bool,
    typer.Option("--check/--no-check", help="Read it back and compare the network's answer."),
]
Push = Annotated[
    str | None,
    typer.Option("--push", metavar="OWNER/NAME", help="Then upload OUT to this hub repository."),
]
Private = Annotated[
    bool, typer.Option("--private/--public", help="Of a repository that --push makes.")
]
Yes = Annotated[bool, typer.Option("--yes", help="Upload without asking.")]
IncludeProfile = Annotated[
    bool, typer.Option("--include-profile", help="Upload a person's profile too.")
]
