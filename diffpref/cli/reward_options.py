"""The options of `diffpref train-reward`, declared once."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from diffpref.errors import UsageError

HeadName = Literal[
    "bradley-terry",
    "pal-a",
    "pal-b",
    "lore",
    "gpm",
    "mixture",
    "ensemble",
    "bt-prior",
    "latent",
    "step-aware",
]
Name = Annotated[HeadName, typer.Option("--head", help="The kind of head, see above.")]
Out = Annotated[Path, typer.Option("--out", help="The folder of the head and its report.")]
Embedder = Annotated[
    str, typer.Option("--embedder", help="A scorer with two towers, such as world-reward.")
]
Features = Annotated[
    list[str] | None,
    typer.Option(
        "--features",
        help="Further scorers to read: NAME for the score, NAME@embedding for the image embedding; "
        "separated by commas.",
    ),
]
By = Annotated[Literal["user", "prompt"], typer.Option("--split", help="What the test holds new.")]
Groups = Annotated[
    int, typer.Option("--groups", min=1, help="K: bases, prototypes, planes or experts.")
]
Width = Annotated[int, typer.Option("--width", min=1, help="Of PAL's space of ideal points.")]
Steps = Annotated[int, typer.Option("--steps", min=1, help="Optimizer steps; the best is kept.")]
Rate = Annotated[float, typer.Option("--lr", min=0, help="Learning rate at the first step.")]
Ridge = Annotated[
    float, typer.Option("--ridge", min=0, help="Pull to the scorer's own score, in votes.")
]
Spread = Annotated[
    float, typer.Option("--spread", min=1e-3, help="How far people's weights may differ.")
]
Margin = Annotated[
    float, typer.Option("--margin", min=0, help="Log odds by which the preferred must win.")
]
Smoothing = Annotated[
    float, typer.Option("--label-smoothing", min=0, max=0.49, help="Share of votes believed wrong.")
]
Seed = Annotated[int, typer.Option("--seed", help="Of the start and the order of votes.")]
Rows = Annotated[
    int | None, typer.Option("--rows", min=1, help="Read this many rows of each part at most.")
]
Cache = Annotated[Path, typer.Option("--cache", help="The folder where embeddings are kept.")]
Batch = Annotated[int, typer.Option("--batch", min=1, help="Images embedded at once.")]
Base = Annotated[
    str, typer.Option("--base", help="latent, step-aware: the base model whose latents are judged.")
]
Draws = Annotated[
    int, typer.Option("--draws", min=1, help="latent, step-aware: steps every vote is noised to.")
]
Hidden = Annotated[
    int, typer.Option("--hidden", min=0, help="latent, step-aware: width of a hidden layer.")
]
Vae = Annotated[
    str | None, typer.Option("--vae", help="latent, step-aware: another autoencoder of the base.")
]
Noise = Annotated[
    Literal["own", "shared"],
    typer.Option("--noise", help="latent, step-aware: one noise per training image, or per pair."),
]


def refuse_features(features: list[str] | None, who: str, hint: str) -> None:
    """Raise a UsageError if features were named for what reads none."""
    if features:
        raise UsageError(f"{who} takes no features", where="--features", hint=hint)
