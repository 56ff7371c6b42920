"""Scorers that are described in a small file instead of held in weights: where that file is."""

from hashlib import sha256
from pathlib import Path

from diffpref.errors import UsageError
from diffpref.rewards.cards import Card
from diffpref.rewards.info import WeightRef
from diffpref.rewards.options import LoadOptions
from diffpref.rewards.resolve import folders


def find_description(card: Card, file: str, options: LoadOptions) -> Path | None:
    """Return the file that describes a scorer, or None if there is none.

    The order is: `weights` (the file, or a folder with it), WEIGHTS_DIR/<scorer>/<file>,
    WEIGHTS_DIR/<file>, and the same in $DIFFPREF_WEIGHTS.

    Raises:
        UsageError: `weights` names no such file.
    """
    where, told = f"scorer {card.name}", options.weights
    if told is not None:
        if not isinstance(told, str):
            hint = f"give one file such as {file}"
            raise UsageError("it has no parts", where=where, hint=hint)
        return given_file(Path(told).expanduser(), file, where)
    for folder in folders(options):
        for place in (folder / card.name / file, folder / file):
            if place.is_file():
                return place
    return None


def given_file(path: Path, file: str, where: str) -> Path:
    """Return a file a user named, itself or in a folder.

    Raises:
        UsageError: there is none.
    """
    path = path / file if path.is_dir() else path
    if not path.is_file():
        hint = f"give a file that describes it, such as {file}"
        raise UsageError(f"there is no file {path}", where=where, hint=hint)
    return path


def described_by(path: Path) -> WeightRef:
    """Return the file that describes a scorer, by content."""
    digest = sha256(path.read_bytes()).hexdigest()
    return WeightRef(file=path.name, sha256=digest, layout="description")
