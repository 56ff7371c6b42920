"""Tensors out of a torch file's nodes: those of a state dict, or of a whole pickled module."""

from collections.abc import Iterator, Mapping
from typing import cast

import torch
from torch import Tensor

from diffpref.io.pickle_nodes import Made, Name
from diffpref.io.torch_data import Storage, TorchData, storage_of

MAX_VISITS = 300_000
"""Attributes of modules and tensors of one file; parts that are shared count every time."""

MAX_DEPTH = 200
"""Modules within modules."""

MOST_WRAPPED = 3
"""A parameter of a tensor with attributes of its own is wrapped twice."""

_KINDS: Mapping[str, torch.dtype] = {
    "Double": torch.float64, "Float": torch.float32, "Half": torch.float16,
    "BFloat16": torch.bfloat16, "Long": torch.int64, "Int": torch.int32, "Short": torch.int16,
    "Char": torch.int8, "Byte": torch.uint8, "Bool": torch.bool, "ComplexFloat": torch.complex64,
    "ComplexDouble": torch.complex128, "Untyped": torch.uint8,
}  # fmt: skip
_NEW_KINDS: Mapping[str, torch.dtype] = {
    "torch.uint16": torch.uint16, "torch.uint32": torch.uint32, "torch.uint64": torch.uint64,
    "torch.float8_e4m3fn": torch.float8_e4m3fn, "torch.float8_e5m2": torch.float8_e5m2,
}  # fmt: skip
_TENSOR = {f"torch._utils._rebuild_tensor{kind}" for kind in ("", "_v2", "_v3")}
_PARAMETER = {
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_parameter_with_state",
    "torch.nn.parameter.Parameter",
    "torch.nn.parameter.Buffer",
}
_TYPED = {"torch._tensor._rebuild_from_type_v2", "torch._tensor._rebuild_from_type"}
_ORDERED = {"collections.OrderedDict", "builtins.dict", "__builtin__.dict"}
FAMILIAR = frozenset(
    {*_TENSOR, *_PARAMETER, *_TYPED, *_ORDERED, *_NEW_KINDS, "torch.Tensor", "torch.Size"}
    | {"builtins.set", "__builtin__.set", "torch.storage.UntypedStorage"}
    | {f"torch.{name}Storage" for name in _KINDS}
)
"""Names whose meaning is known here; whatever else a file names is foreign to it."""


def entries(node: object) -> list[tuple[object, object]] | None:
    """Return the keys and values of a dict or OrderedDict, or None."""
    if not isinstance(node, Made) or str(node.kind) not in _ORDERED:
        return None
    given = _listed(node)  # OrderedDict's pairs as one argument, as Python 2 wrote it
    pairs = [tuple(cast(list[object], each)) for each in given if isinstance(each, list | tuple)]
    return [*((pair[0], pair[1]) for pair in pairs if len(pair) == 2), *node.pairs]


def texts(node: object) -> dict[str, object]:
    """Return the entries of a dict whose keys are text."""
    return {key: value for key, value in entries(node) or [] if isinstance(key, str)}


def attributes(node: object) -> dict[str, object]:
    """Return what would be the attributes of an object."""
    found: dict[str, object] = {}
    for state in node.state if isinstance(node, Made) else []:
        for part in cast(tuple[object, ...], state) if isinstance(state, tuple) else (state,):
            found |= texts(part)
    return found


def is_module(node: object) -> bool:
    return {"_modules", "_parameters", "_buffers"} <= attributes(node).keys()


def is_tensor(node: object) -> bool:
    return isinstance(node, Made) and str(node.kind) in _TENSOR | _PARAMETER | _TYPED


def module_tensors(root: object) -> Iterator[tuple[str, object]]:
    """Yield names and nodes in the order of `state_dict()`; hooks that change it are not known.

    Raises:
        ValueError: modules deeper than MAX_DEPTH, as one that holds itself, or more parts than
            MAX_VISITS.
    """
    visits = 0
    waiting: list[tuple[str, object, int]] = [("", root, 0)]
    while waiting:
        prefix, module, depth = waiting.pop()
        told = attributes(module)
        fleeting = _members(told.get("_non_persistent_buffers_set"))
        parameters, buffers = texts(told["_parameters"]), texts(told["_buffers"])
        inner = texts(told["_modules"])
        visits += sum(map(len, (told, fleeting, parameters, buffers, inner)))
        if depth > MAX_DEPTH or visits > MAX_VISITS:
            raise ValueError("its modules hold one another without end")
        lasting = {name: node for name, node in buffers.items() if name not in fleeting}
        for name, node in [*parameters.items(), *lasting.items()]:
            if node is not None:
                yield prefix + name, node
        for name, child in reversed(inner.items()):
            if child is not None and not is_module(child):
                raise ValueError(f"{prefix}{name} is no module")
            if child is not None:
                waiting.append((f"{prefix}{name}.", child, depth + 1))


def _listed(node: Made) -> list[object]:
    first = node.given[0] if node.given else None
    return cast(list[object], first) if isinstance(first, list) else []


def _members(node: object) -> frozenset[str]:
    """Return the texts of a set, however it was pickled."""
    if not isinstance(node, Made):
        return frozenset()
    found = [*_listed(node), *node.values]
    return frozenset(each for each in found if isinstance(each, str))


def tensor_of(node: object, data: TorchData) -> Tensor:
    """Return the tensor a node describes, on the file itself.

    Raises:
        ValueError: no tensor, or one that reaches beyond its data.
    """
    kind, args = _unwrapped(node)
    if kind not in _TENSOR or len(args) < 4:
        raise ValueError(f"{kind or type(node).__name__} is no plain tensor")
    storage = storage_of(args[0])
    dtype = _KINDS[storage.type]
    if kind.endswith("_v3"):
        told = args[6] if len(args) > 6 else None
        if str(told) not in _NEW_KINDS:
            raise ValueError(f"numbers of kind {told if isinstance(told, Name) else 'unknown'}")
        dtype = _NEW_KINDS[str(told)]
    return _strided(_flat(storage, data, dtype), args[1], args[2], args[3])


def _unwrapped(node: object) -> tuple[str, tuple[object, ...]]:
    """Return the call that makes the tensor inside a parameter or a tensor with attributes."""
    kind, args = _call(node)
    for _ in range(MOST_WRAPPED):
        if kind in _TYPED and len(args) >= 3:
            kind, args = _call(Made(args[0], args[2]))
        elif kind in _PARAMETER and args:
            kind, args = _call(args[0])
    return kind, args


def _call(node: object) -> tuple[str, tuple[object, ...]]:
    if not (isinstance(node, Made) and isinstance(node.kind, Name)):
        return "", ()
    return str(node.kind), node.given


def _flat(storage: Storage, data: TorchData, dtype: torch.dtype) -> Tensor:
    if storage.key not in data.places:
        raise ValueError(f"its data {storage.key[:40]!r} are not in the file")
    start, size = data.places[storage.key]
    needed = storage.numel * _KINDS[storage.type].itemsize
    if needed > size or needed % dtype.itemsize:
        raise ValueError("its data are shorter than they should be")
    if needed == 0:
        return torch.empty(0, dtype=dtype)
    found = torch.frombuffer(data.content, dtype=torch.uint8, count=needed, offset=start)
    if start % dtype.itemsize:
        found = found.clone()
    return found.view(dtype)


def _strided(flat: Tensor, offset: object, size: object, stride: object) -> Tensor:
    sizes, steps = _numbers(size), _numbers(stride)
    (first,) = _numbers((offset,))
    if len(sizes) != len(steps):
        raise ValueError("its sizes and strides differ in number")
    last = first + sum((n - 1) * step for n, step in zip(sizes, steps, strict=True))
    if 0 in sizes:
        return torch.empty(sizes, dtype=flat.dtype)
    if last >= flat.numel():
        raise ValueError("it reaches beyond its data")
    count = 1
    for n in sizes:
        count *= n
    if count > flat.numel():
        raise ValueError("it is larger than the data behind it")
    return flat.as_strided(sizes, steps, first)


def _numbers(node: object) -> list[int]:
    kind, args = _call(node)
    if kind == "torch.Size" and args:
        node = args[0]
    numbers = list(cast(tuple[object, ...], node)) if isinstance(node, tuple) else [None]
    whole = [n for n in numbers if type(n) is int and 0 <= n < 2**62]
    if len(whole) < len(numbers):
        raise ValueError("a size that is no number")
    return whole
