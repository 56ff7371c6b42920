"""Safetensors as a stream of buffers, so that a save never holds a second copy of the weights."""

import json
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

_CHUNK = 16 * 2**20
_NAMES = {
    torch.bool: "BOOL",
    torch.uint8: "U8",
    torch.int8: "I8",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.int16: "I16",
    torch.uint16: "U16",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int32: "I32",
    torch.uint32: "U32",
    torch.float32: "F32",
    torch.int64: "I64",
    torch.uint64: "U64",
    torch.float64: "F64",
    torch.complex64: "C64",
}


def stored_bytes(tensors: Mapping[str, Tensor]) -> int:
    """Return the size of the tensors' data in bytes, without the header."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def tensor_chunks(
    tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> Iterator[bytes | memoryview]:
    """Yield the bytes of a safetensors file: length, JSON header, then every tensor.

    Each tensor is copied to the CPU only when its turn comes. Tensors that share memory are stored
    once each, so views and tied weights need no care.

    Raises:
        ValueError: a tensor is sparse, quantized or of a kind the format has no name for, or a
            name is the format's own word `__metadata__`.
    """
    header = _header(tensors, metadata)
    yield len(header).to_bytes(8, "little") + header
    for name in _order(tensors):
        flat = tensors[name].detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        for start in range(0, flat.numel(), _CHUNK):
            yield flat[start : start + _CHUNK].numpy().data


def _order(tensors: Mapping[str, Tensor]) -> list[str]:
    """Widest elements first, so that every tensor is aligned to its own element."""
    return sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))


def _header(tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None) -> bytes:
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    offset = 0
    for name in _order(tensors):
        tensor = tensors[name]
        if name == "__metadata__" or tensor.layout is not torch.strided or tensor.is_quantized:
            raise ValueError(f"tensor '{name}' cannot be stored; make it an ordinary dense tensor")
        if tensor.dtype not in _NAMES:
            raise ValueError(f"tensor '{name}' has dtype {tensor.dtype}; convert it first")
        end = offset + tensor.numel() * tensor.element_size()
        header[name] = {
            "dtype": _NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [offset, end],
        }
        offset = end
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    return text + b" " * (-len(text) % 8)
