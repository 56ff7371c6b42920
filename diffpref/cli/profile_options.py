"""The options of `diffpref profile`, declared once."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from diffpref.errors import UsageError

if TYPE_CHECKING:
    from diffpref.rewards import LoadedScorer
    from diffpref.rewards.heads.embeddings import EmbeddingStore
    from diffpref.users.prior import Prior

Profile = Annotated[
    Path, typer.Argument(metavar="PROFILE", help="A file that `profile fit` wrote.")
]
Profiles = Annotated[
    list[Path], typer.Argument(metavar="PROFILE...", help="Files that `profile fit` wrote.")
]
Votes = Annotated[
    str | None,
    typer.Argument(metavar="[VOTES]", help="A .jsonl of `rate`, a folder, any source of votes."),
]
More = Annotated[str, typer.Argument(metavar="VOTES", help="More votes of the same person.")]
Out = Annotated[Path, typer.Option("--out", "-o", help="The file to write.")]
Maybe = Annotated[
    Path | None, typer.Option("--out", "-o", help="Write here instead of replacing the profile.")
]
PriorName = Annotated[
    str,
    typer.Option(
        "--prior",
        help="bt-world, or a file of `train-reward --head bt-prior`; of --encoder vlm the run.",
    ),
]
Beside = Annotated[
    str | None,
    typer.Option("--prior", help="The population's file, if it is neither bundled nor beside."),
]
Encoder = Annotated[
    Literal["bt", "table", "vlm"],
    typer.Option(
        "--encoder",
        help="bt: a belief, with uncertainty; table: a mixture of people; vlm: what a run's "
        "vision-language model makes of the votes (--prior RUN --vlm FOLDER).",
    ),
]
Vlm = Annotated[
    Path | None,
    typer.Option("--vlm", help="Of --encoder vlm: the folder of the model the run read."),
]
User = Annotated[str | None, typer.Option("--user", help="Whose votes, where several voted.")]
Split = Annotated[str, typer.Option("--part", help="Of a source in parts: train, test ...")]
Format = Annotated[
    str | None, typer.Option("--format", help="Of the votes, if it is not recognised.")
]
Keep = Annotated[
    bool,
    typer.Option("--keep-statistics", help="Keep the votes' numbers: add and forget are exact."),
]
Liked = Annotated[
    Path | None, typer.Option("--liked", help="A folder of liked pictures, without pairs.")
]
Disliked = Annotated[Path | None, typer.Option("--disliked", help="A folder of disliked ones.")]
Ids = Annotated[
    list[str] | None, typer.Option("--pair", help="The id of a vote; `show --votes` lists them.")
]
From = Annotated[
    str | None, typer.Option("--votes", help="Forget every vote of this source instead.")
]
Weights = Annotated[
    list[str] | None, typer.Option("--weights", help="One for each profile: 0.7,0.3.")
]
Candidates = Annotated[Path, typer.Option("--candidates", help="A folder of pictures.")]
Count = Annotated[int, typer.Option("--count", min=1, help="How many pairs.")]
ShowVotes = Annotated[bool, typer.Option("--votes", help="List the ids of kept votes too.")]
Yes = Annotated[bool, typer.Option("--yes", help="Really delete it.")]
Cache = Annotated[Path, typer.Option("--cache", help="The folder where embeddings are kept.")]
WeightsDir = Annotated[
    Path | None, typer.Option("--weights-dir", help="Where the scorer's weights are.")
]


def numbers(said: Sequence[str] | None) -> list[float]:
    """Return the numbers of --weights, in order.

    Raises:
        UsageError: one is no number.
    """
    found: list[float] = []
    for word in ",".join(said or ()).split(","):
        try:
            found.append(float(word))
        except ValueError:
            hint = "for example --weights 0.7,0.3"
            raise UsageError(f"'{word}' is not a number", where="--weights", hint=hint) from None
    return found


def embedder_of(prior: "Prior", weights_dir: Path | None, device: str) -> "LoadedScorer":
    """Load the scorer whose embeddings a population reads."""
    from diffpref.config.fits import auto_device
    from diffpref.rewards import load_scorer
    from diffpref.users.reward import check_embedder

    found = load_scorer(prior.embedder.scorer, weights_dir=weights_dir, device=auto_device(device))
    check_embedder(prior, found)
    return found


def store_of(
    prior: "Prior", cache: Path, weights_dir: Path | None, device: str
) -> "EmbeddingStore":
    """Open the embeddings of a population's scorer."""
    from diffpref.rewards.heads.embeddings import EmbeddingStore

    return EmbeddingStore(cache, embedder_of(prior, weights_dir, device))


def known_prompts(
    files: Sequence[Path], prompt: str | None, source: str | None
) -> Mapping[Path, str]:
    """Return the prompts of pictures, as given or as their PNGs say; others are left out."""
    from diffpref.errors import DataError
    from diffpref.evaluate.asked import asked_of

    if prompt is not None or source is not None:
        return dict(zip(files, asked_of(files, prompt=prompt, source=source), strict=True))
    found: dict[Path, str] = {}
    for file in files:
        try:
            found[file] = asked_of([file])[0]
        except DataError:
            continue
    return found


def free(out: Path, force: bool) -> None:
    """Refuse to replace a file unless told to."""
    if out.exists() and not force:
        hint = "add --force, or name another file; `profile add` learns on"
        raise UsageError("exists already", where=str(out), hint=hint)


def pictures(folder: Path | None) -> list[Path]:
    """Return the pictures of a folder; none of no folder."""
    from diffpref.errors import DataError
    from diffpref.evaluate.asked import image_files

    if folder is None:
        return []
    if not folder.exists():
        raise DataError("there is no such folder", where=str(folder), hint="check the path")
    return image_files([folder])
