"""The options of `diffpref label pairs`, declared once."""

from pathlib import Path
from typing import Annotated, Literal

import typer

Source = Annotated[
    str | None,
    typer.Argument(
        help="Preference data (see `data inspect`), or a folder of images whose prompts are known."
    ),
]
Out = Annotated[
    Path,
    typer.Option("--out", help="The label table, a .jsonl file; with --make the data set folder."),
]
Make = Annotated[
    Literal["table", "pairs", "all-pairs", "lists"] | None,
    typer.Option(
        "--make",
        help="A table of labels for data that exist; or new data: the best against the worst image "
        "of each prompt, every two images, or all images ranked.",
    ),
]
Margin = Annotated[
    float,
    typer.Option(
        "--margin",
        min=0,
        max=1,
        help="Least difference for one image to count as better, a share of the range of a "
        "scorer's scores over all images.",
    ),
]
Agree = Annotated[
    Literal["all", "majority"],
    typer.Option("--agree", help="How many of several scorers must find the same image better."),
]
AsUsers = Annotated[
    bool,
    typer.Option(
        "--as-users",
        help="Every scorer is a user with opinions of its own: rows for a personal run.",
    ),
]
FromModel = Annotated[
    str | None,
    typer.Option("--from-model", help="Make the images with this model: as --model of generate."),
]
Prompts = Annotated[
    str | None,
    typer.Option("--prompts", help="What --from-model shows: .txt, .jsonl or builtin:prompts/..."),
]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="Prompts of the file to use.")]
PerPrompt = Annotated[
    int, typer.Option("--images-per-prompt", min=2, help="Images that --from-model makes of each.")
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Of the first image of each prompt.")]
Batch = Annotated[int, typer.Option("--batch", min=1, help="Images scored at once.")]
ModelDtype = Annotated[
    str | None,
    typer.Option(
        "--model-dtype", help="Of --from-model; fp32 on a CPU and fp16 elsewhere if absent."
    ),
]
