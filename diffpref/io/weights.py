"""The doors for weights: safetensors, and torch's own files only as plain named tensors."""

import pickletools
import zipfile
from collections.abc import Sequence
from pathlib import Path
from stat import S_ISREG
from typing import TYPE_CHECKING, cast

from diffpref.errors import DataError, UnsafeFileError, nearest
from diffpref.io.archive import plan_of, unsafe

if TYPE_CHECKING:
    import torch

MAX_BYTES = 64 * 2**30
MAX_ELEMENTS = 32 * 2**30
MAX_SHARING = 16
"""How many times over tensors may use the data of a file; tied weights and views of it share."""
_MALFORMED_HINT = "download it again and compare its checksum"
# the whole vocabulary of a plain state dict; torch's own allow-list is wider
_PLAIN = frozenset(
    {"collections OrderedDict", "torch._utils _rebuild_tensor_v2"}
    | {"torch._utils _rebuild_parameter", "torch Size"}
    | {f"torch {kind}Storage" for kind in ("Double", "Float", "Half", "BFloat16", "Long", "Int")}
    | {f"torch {kind}Storage" for kind in ("Short", "Char", "Byte", "Bool")}
)


def load_weights(path: Path | str) -> "dict[str, torch.Tensor]":
    """Load a safetensors file onto the CPU; bfloat16 and every other kind stay as stored.

    Raises:
        UnsafeFileError: another format; torch files pass only through `safe_load_weights`.
        DataError: missing, unreadable or malformed.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file  # pyright: ignore[reportUnknownVariableType]

    file = regular_file(path)
    if file.suffix != ".safetensors":
        hint = "use a .safetensors file"
        raise UnsafeFileError(f"{file.suffix or 'this'} is not opened", where=str(file), hint=hint)
    try:
        return load_file(file)
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError) as error:
        what = f"not a sound safetensors file: {error}"
        raise DataError(what, where=str(file), hint=_MALFORMED_HINT) from error


def safe_load_weights(
    path: Path | str, *, key: str | None = None, wrappers: Sequence[str] = ()
) -> "dict[str, torch.Tensor]":
    """Load weights that may be a scorer's .pt, .pth, .bin or .ckpt.

    Such a file must be torch's zip format, uncompressed, and name nothing but tensors; this is
    checked without running the pickle, which is then read with `weights_only`.

    Args:
        key: entry that holds the weights when the file is a training checkpoint.
        wrappers: entries that hold the weights if they are there; the first one found counts.

    Raises:
        UnsafeFileError: pickled code, TorchScript, an old or compressed format, a tensor larger
            than the file that holds it, or one stretch of it shared by too many.
        DataError: missing, malformed, or not a dict of tensors.
    """
    file = regular_file(path)
    if file.suffix == ".safetensors":
        return load_weights(file)
    _check_archive(file)
    value = _load_plain(file)
    if key is None:
        entries = _entries(value)
        key = next((name for name in wrappers if isinstance(entries.get(name), dict)), None)
    return _named_tensors(value, key, file)


def regular_file(path: Path | str) -> Path:
    """Return the path of a file that is no larger than MAX_BYTES.

    Raises:
        DataError: missing, or no file.
        UnsafeFileError: larger.
    """
    file = Path(path)
    try:
        status = file.stat()
    except OSError as error:
        what, hint = f"cannot be read: {error.strerror}", "check the path"
        raise DataError(what, where=str(file), hint=hint) from error
    if not S_ISREG(status.st_mode):
        raise DataError("not a regular file", where=str(file), hint="name one weights file")
    if status.st_size > MAX_BYTES:
        what = f"{status.st_size} bytes exceed the ceiling of {MAX_BYTES}"
        raise UnsafeFileError(what, where=str(file), hint="check that this is a weights file")
    return file


def _check_archive(file: Path) -> None:
    """Refuse an archive by its table of contents and by the words of its pickle."""
    try:
        with zipfile.ZipFile(file) as archive:
            _check_words(archive.read(plan_of(archive, file)), file)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        what = "it is not torch's zip format; pickles are never opened"
        raise unsafe(what, file) from error


def _check_words(plan: bytes, file: Path) -> None:
    """Read the pickle's opcodes without running them; each import must be a plain word."""
    try:
        for opcode, argument, _ in pickletools.genops(plan):
            if opcode.name in ("INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "STACK_GLOBAL"):
                raise unsafe(f"its pickle uses {opcode.name}", file)
            if opcode.name == "GLOBAL" and argument not in _PLAIN:
                raise unsafe(f"its pickle names {str(argument).replace(' ', '.')}", file)
    except ValueError as error:
        raise unsafe("its pickle is malformed", file) from error


def _load_plain(file: Path) -> object:
    import pickle

    import torch

    try:
        return torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise unsafe(f"torch refuses it: {str(error).splitlines()[0]}", file) from error
    except (RuntimeError, OSError, ValueError, EOFError, KeyError, TypeError) as error:
        what = f"malformed: {str(error)[:200]}"
        raise DataError(what, where=str(file), hint=_MALFORMED_HINT) from error


def _named_tensors(value: object, key: str | None, file: Path) -> "dict[str, torch.Tensor]":
    import torch

    if key is not None:
        entries = _entries(value)
        if key not in entries:
            hint = nearest(key, [str(name) for name in entries])
            raise DataError(f"there is no entry '{key}'", where=str(file), hint=hint)
        value = entries[key]
    entries = _entries(value)
    tensors: dict[str, torch.Tensor] = {}
    for name, tensor in entries.items():
        if not (isinstance(name, str) and isinstance(tensor, torch.Tensor)):
            hint = (
                f"name the entry that holds the weights; {nearest('state_dict', map(str, entries))}"
            )
            raise DataError(f"'{name}' is not a tensor", where=str(file), hint=hint)
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise unsafe(f"'{name}' is larger than the data behind it", file)
        tensors[name] = tensor.detach()
    if not tensors:
        raise DataError("it holds no tensors", where=str(file), hint="check that this is weights")
    _check_size(tensors, file)
    return tensors


def _entries(value: object) -> dict[object, object]:
    return cast(dict[object, object], value) if isinstance(value, dict) else {}


def _check_size(tensors: "dict[str, torch.Tensor]", file: Path) -> None:
    """Refuse more numbers than memory or the file behind them warrants once they are copied."""
    if sum(tensor.numel() for tensor in tensors.values()) > MAX_ELEMENTS:
        raise unsafe(f"more than {MAX_ELEMENTS} numbers", file)
    behind = [tensor.untyped_storage() for tensor in tensors.values()]
    held = sum({data.data_ptr(): data.nbytes() for data in behind}.values())
    used = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    if used > MAX_SHARING * held:
        raise unsafe(f"its tensors use its data more than {MAX_SHARING} times over", file)
