"""The options of `diffpref data`, declared once."""

from pathlib import Path
from typing import Annotated, Literal

import typer

Source = Annotated[
    str,
    typer.Argument(
        help="A .jsonl file or its folder, Pick-a-Pic parquet, winner/ and loser/ folders, "
        "builtin:pairs, a Hugging Face data set (owner/name), or the rollouts/ of an online run."
    ),
]
MaybeSource = Annotated[str | None, typer.Argument(help="What to encode; see `data inspect`.")]
Format = Annotated[
    str | None, typer.Option("--format", help="The format, if looking at the data is not enough.")
]
Split = Annotated[str, typer.Option("--split", help="Which part of a source that has several.")]
Ties = Annotated[
    Literal["drop", "soft"],
    typer.Option("--ties", help="Leave ties out, or keep them for the loss cross_entropy."),
]
Absolute = Annotated[
    bool, typer.Option("--absolute-winners", help="Keep rows whose best image never lost.")
]
Generator = Annotated[
    str, typer.Option("--generator", help="Keep rows made by these generators, comma-separated.")
]
MinSide = Annotated[int, typer.Option("--min-side", help="Smallest side of an image, in pixels.")]
MaxPairs = Annotated[
    int | None, typer.Option("--max-pairs", min=1, help="Stop after this many kept rows.")
]
Rows = Annotated[int | None, typer.Option("--rows", min=1, help="Read this many rows at most.")]
TokenizerOf = Annotated[
    str | None, typer.Option("--base", help="Count long captions with this model's tokenizer.")
]
Base = Annotated[str, typer.Option("--base", help="The model that encodes.")]
Vae = Annotated[str | None, typer.Option("--vae", help="Another autoencoder.")]
Out = Annotated[Path, typer.Option("--out", help="The cache folder.")]
Device = Annotated[str, typer.Option("--device", help="Where to encode, such as cuda:0.")]
Resolution = Annotated[
    int | None, typer.Option("--resolution", help="Side in pixels; the model's own if absent.")
]
Dtype = Annotated[
    Literal["fp16", "bf16", "fp32"], typer.Option("--dtype", help="What is stored on disk.")
]
Buckets = Annotated[
    bool, typer.Option("--buckets/--no-buckets", help="Keep aspect ratios, or cut squares.")
]
Crop = Annotated[
    Literal["centre", "random"], typer.Option("--crop", help="Where images are cropped.")
]
Batch = Annotated[int, typer.Option("--batch", min=1, help="Images encoded at once.")]
OnBadRow = Annotated[
    Literal["skip", "error"], typer.Option("--on-bad-row", help="Count bad rows, or stop.")
]
MaxBad = Annotated[
    float, typer.Option("--max-bad-fraction", min=0, max=1, help="More mean a wrong file.")
]
Prune = Annotated[bool, typer.Option("--prune", help="Remove what no data set here uses.")]
MaxGb = Annotated[
    float | None,
    typer.Option("--max-gb", min=0, help="Prune, and forget the oldest data sets above this size."),
]
Json = Annotated[bool, typer.Option("--json", help="Write one JSON document.")]
RoundsFolder = Annotated[Path, typer.Argument(help="The rollouts/ folder of an online run.")]
OutFolder = Annotated[Path, typer.Argument(help="A new folder.")]
BaseOfRounds = Annotated[
    str | None, typer.Option("--base", help="The model that decodes; the run's own if absent.")
]
Folder = Annotated[Path, typer.Argument(help="The cache folder.")]
Inversion = Annotated[
    str | None,
    typer.Option(
        "--inversion", metavar="CONFIG", help="Keep the points of this run, see above; no SOURCE."
    ),
]
Change = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="A change to CONFIG; may be repeated."),
]
