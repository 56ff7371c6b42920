"""The door for pickled networks: their tensors are recovered, their classes never imported."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from diffpref.errors import DataError, UnsafeFileError, nearest
from diffpref.io.archive import unsafe
from diffpref.io.atomic import save_tensors
from diffpref.io.pickle_nodes import Made
from diffpref.io.recover import (
    FAMILIAR,
    entries,
    is_module,
    is_tensor,
    module_tensors,
    tensor_of,
    texts,
)
from diffpref.io.tensors import stored_bytes
from diffpref.io.torch_data import TorchData, open_torch
from diffpref.io.weights import MAX_BYTES, MAX_SHARING, regular_file

WRAPPERS = ("state_dict", "model", "module")
_HINT = "take a plain state dict of the same model, if there is one"


@dataclass(frozen=True, kw_only=True)
class Recovered:
    """Tensors by name, and what else the file names: classes and functions that were not used."""

    tensors: dict[str, Tensor]
    foreign: tuple[str, ...]


def recover(path: Path | str, *, key: str | None = None) -> Recovered:
    """Recover the tensors of a torch file, whatever classes it was pickled from.

    A pickled module gives the names and tensors of its `state_dict()`, in that order; hooks that
    change a state dict are not known here. A dict of tensors is taken as it is. Nothing the file
    names is imported or called. Files of torch before 1.6 are read as well.

    Args:
        path: a .pt, .pth, .bin or .ckpt.
        key: entry of the file that holds the weights; without it the usual ones are tried.

    Returns:
        Tensors on the file itself, read when they are used; keep the file until then.

    Raises:
        UnsafeFileError: TorchScript, another format, malformed, or too large.
        DataError: missing, or it holds neither a module nor a dict of tensors.
    """
    file = regular_file(path)
    if file.suffix == ".safetensors":
        raise DataError("is safetensors already", where=str(file), hint="use it as it is")
    data = open_torch(file)
    tensors: dict[str, Tensor] = {}
    try:
        for name, node in _named_nodes(data, key, file):
            tensors[_checked(name)] = _tensor(name, node, data)
    except ValueError as error:
        raise unsafe(f"its weights are refused: {error}", file, _HINT) from error
    if not tensors:
        raise DataError("it holds no tensors", where=str(file), hint="check that this is weights")
    size = stored_bytes(tensors)
    if size > MAX_BYTES or size > MAX_SHARING * file.stat().st_size:
        what = f"its tensors take {size} bytes, far more than the file that holds them"
        raise UnsafeFileError(what, where=str(file), hint=_HINT)
    foreign = sorted({str(name) for name in data.pickle.names} - FAMILIAR)
    return Recovered(tensors=tensors, foreign=tuple(foreign))


def convert(path: Path | str, out: Path, *, key: str | None = None) -> Recovered:
    """Write the tensors of a torch file as safetensors; arguments and refusals as `recover`.

    Raises:
        DataError: also for a kind of tensor that safetensors has no name for.
        DiskError: the file cannot be written.
    """
    found = recover(path, key=key)
    try:
        save_tensors(out, found.tensors, {"format": "pt"})
    except ValueError as error:
        raise DataError(str(error), where=str(path), hint=_HINT) from error
    return found


def _named_nodes(data: TorchData, key: str | None, file: Path) -> Sequence[tuple[str, object]]:
    root = data.pickle.root
    if key is not None:
        told = texts(root)
        if key not in told:
            what = f"there is no entry '{key}'"
            raise DataError(what, where=str(file), hint=nearest(key, told))
        root = told[key]
    elif not is_module(root) and not any(is_tensor(node) for node in texts(root).values()):
        inner = [texts(root).get(name) for name in WRAPPERS]
        root = next((node for node in inner if is_module(node) or entries(node)), root)
    if is_module(root):
        return list(module_tensors(root))
    if entries(root) is None:
        kind = str(root.kind) if isinstance(root, Made) else type(root).__name__
        what = f"its root is {kind}, neither a module nor a dict of tensors"
        raise DataError(what, where=str(file), hint=_HINT)
    other = [name for name, node in texts(root).items() if not is_tensor(node)]
    if other:
        hint = f"name the entry that holds the weights with --key; it has: {', '.join(texts(root))}"
        raise DataError(f"'{other[0]}' is not a tensor", where=str(file), hint=hint[:2000])
    return list(texts(root).items())


def _checked(name: str) -> str:
    if not name.isprintable() or name == "__metadata__":  # half characters do not print either
        raise ValueError(f"a tensor named {name[:80]!a}")
    return name


def _tensor(name: str, node: object, data: TorchData) -> Tensor:
    try:
        return tensor_of(node, data)
    except (ValueError, RuntimeError) as error:  # RuntimeError: sizes that overflow
        raise ValueError(f"{name}: {error}") from error
