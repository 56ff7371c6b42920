"""Small safetensors files of any name, read whole: their tensors and the labels of their header."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from diffpref.errors import DataError, UnsafeFileError
from diffpref.io.weights import regular_file

if TYPE_CHECKING:
    import torch

_LENGTH = 8


def load_labelled(
    path: Path | str, *, max_bytes: int
) -> "tuple[dict[str, torch.Tensor], dict[str, str]]":
    """Return the tensors of a safetensors file and its `__metadata__`.

    Args:
        path: of the file; its ending does not matter.
        max_bytes: larger files are refused unread.

    Raises:
        DataError: missing, unreadable, or no sound safetensors file.
        UnsafeFileError: larger than `max_bytes`.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load  # pyright: ignore[reportUnknownVariableType]

    file = regular_file(path)
    size = file.stat().st_size
    if size > max_bytes:
        what = f"{size} bytes exceed the ceiling of {max_bytes}"
        raise UnsafeFileError(what, where=str(file), hint="check that this is the right file")
    try:
        data = file.read_bytes()
        tensors = load(data)
        length = int.from_bytes(data[:_LENGTH], "little")
        header = cast(dict[str, Any], json.loads(data[_LENGTH : _LENGTH + length]))
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError) as error:
        what = f"not a sound safetensors file: {error}"
        raise DataError(what, where=str(file), hint="make it again") from error
    labels = cast(dict[str, str], header.get("__metadata__", {}))
    return tensors, labels
