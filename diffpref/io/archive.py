"""What torch's zip format may hold, judged by its table of contents before anything is read."""

import zipfile
from collections.abc import Sequence
from pathlib import Path

from diffpref.errors import UnsafeFileError

MAX_MEMBERS = 100_000
MAX_PICKLE = 64 * 2**20
CONVERT_HINT = "convert it once: diffpref scorers convert FILE --out FILE.safetensors"
_PROGRAM_HINT = (
    "programs are not converted: give the same model's safetensors file; instead of OpenAI's "
    "ViT-L-14.pt the model.safetensors of openai/clip-vit-large-patch14, instead of ViT-B-32.pt "
    "that of openai/clip-vit-base-patch32"
)


def plan_of(archive: zipfile.ZipFile, file: Path) -> zipfile.ZipInfo:
    """Return the member that holds the pickle.

    Raises:
        UnsafeFileError: TorchScript, compressed or overlapping members, or not exactly one pickle.
    """
    members = archive.infolist()
    _check_members(members, file)
    plans = [m for m in members if m.filename.casefold().endswith("data.pkl")]
    if len(plans) != 1 or plans[0].file_size > MAX_PICKLE:
        raise unsafe("it does not hold exactly one plain state dict", file)
    return plans[0]


def unsafe(what: str, file: Path, hint: str = CONVERT_HINT) -> UnsafeFileError:
    """Return the refusal of a weights file."""
    return UnsafeFileError(what, where=str(file), hint=hint)


def _check_members(members: Sequence[zipfile.ZipInfo], file: Path) -> None:
    # torch looks members up without regard to case, and reads its plan from the first folder
    names = [member.filename.casefold() for member in members]
    if len(names) > MAX_MEMBERS or len(set(names)) != len(names):
        raise unsafe("too many members, or two with one name", file)
    if any(name.split("/")[1:2] == ["code"] or name.endswith("constants.pkl") for name in names):
        raise unsafe("it is a TorchScript program", file, _PROGRAM_HINT)
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise unsafe("compressed members can grow without bound", file)
    if sum(member.file_size for member in members) > file.stat().st_size:
        raise unsafe("members overlap", file)
