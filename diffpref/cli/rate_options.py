"""The options of `diffpref rate`, declared once."""

from pathlib import Path
from typing import Annotated

import typer

Source = Annotated[
    str | None,
    typer.Argument(
        metavar="[SOURCE]", help="A folder of pictures, or preference data of any known format."
    ),
]
Out = Annotated[Path, typer.Option("--out", help="The folder of the answers; it goes on there.")]
User = Annotated[str | None, typer.Option("--user", help="Who rates; written into every row.")]
Goal = Annotated[
    int | None,
    typer.Option("--pairs", min=0, help="Pairs to rate, 20 if absent; 0 asks all there are."),
]
Seed = Annotated[
    int,
    typer.Option("--seed", min=0, help="Decides sides and order, and the first picture's noise."),
]
Generate = Annotated[
    bool, typer.Option("--generate", help="Rate pictures that --model makes of --prompts.")
]
Compare = Annotated[
    tuple[str, str] | None,
    typer.Option("--compare", metavar="A B", help="A blind study of two models."),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="Makes pictures for --generate and for the button 'show me': builtin:base, a folder, "
        "a file, a hub id, a run folder, or BASE+LORA.",
    ),
]
Prompts = Annotated[
    str | None,
    typer.Option("--prompts", help="What --generate and --compare show: a .txt or .jsonl file, "
                 "or builtin:prompts/test, which it is if absent."),
]  # fmt: skip
Limit = Annotated[
    int | None,
    typer.Option("--limit", min=1, help="Prompts from the top, 24 if absent; pairs of SOURCE."),
]
PerPrompt = Annotated[
    int, typer.Option("--images-per-prompt", min=2, help="Pictures of each prompt to pair.")
]
Seeds = Annotated[
    list[str] | None, typer.Option("--seeds", help="Of --compare: one pair per prompt and seed.")
]
Steps = Annotated[int, typer.Option("--steps", min=1, help="Denoising steps.")]
Format = Annotated[str | None, typer.Option("--format", help="Of SOURCE, if not recognised.")]
Part = Annotated[str, typer.Option("--part", help="Of a SOURCE in parts: train, test ...")]
Prior = Annotated[
    str,
    typer.Option("--prior", help="The population of the live profile: bt-world, or a file of "
                 "`train-reward --head bt-prior`."),
]  # fmt: skip
NoProfile = Annotated[
    bool, typer.Option("--no-profile", help="Learn nothing while rating; ask by chance.")
]
Profile = Annotated[
    Path | None, typer.Option("--profile", help="The live profile's file; me.profile in --out.")
]
Host = Annotated[
    str, typer.Option("--host", help="Where to listen; anything but loopback needs --expose.")
]
Expose = Annotated[
    bool,
    typer.Option("--expose", help="Let others on the network reach the page: whoever learns the "
                 "link sees the pictures and votes, unencrypted."),
]  # fmt: skip
Port = Annotated[
    int | None, typer.Option("--port", min=0, max=65535, help="8420, or a free one if absent.")
]
Open = Annotated[bool, typer.Option("--open", help="Open the link in the default browser.")]
