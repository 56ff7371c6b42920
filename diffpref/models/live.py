"""Bytes a computation holds at its worst moment, followed on the meta device, without the memory.

What an ideal allocator would need: no fragmentation, no kernels' work space, no CUDA context.
"""

import weakref
from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

MULTIPLE = 8
"""Flash attention pads the width of a head to a multiple of this."""


class Live(TorchDispatchMode):
    """Follows every storage from the operation that makes it until nobody holds it.

    Attributes:
        now: bytes held.
        peak: most bytes held at once.
    """

    def __init__(self, held: Iterable[Tensor] = ()) -> None:
        """Start with what is held already.

        Args:
            held: tensors that exist before; views of one storage count once.
        """
        super().__init__()
        self.now = self.peak = 0
        self._sizes: dict[int, int] = {}
        for tensor in held:
            self.add(tensor)

    def add(self, tensor: Tensor) -> None:
        """Count a tensor's storage, once, until it is let go."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._sizes:
            return
        self._sizes[key] = storage.nbytes()
        self.now += self._sizes[key]
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._drop, key)

    def _drop(self, key: int) -> None:
        self.now -= self._sizes.pop(key, 0)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for each in tree_leaves(out):
            if isinstance(each, Tensor):
                self.add(each)
        return out


class AsOnCuda(TorchFunctionMode):
    """Makes meta tensors computed on as CUDA ones: fused attention, and autocast's casts.

    The meta device has neither: it would take attention apart, scores and all, and leave every
    precision as it is. Autocast's rules for what a UNet computes: products, convolutions and
    attention in the compute precision, norms in float32; casts of weights are kept until
    `forget`.
    """

    LOW = frozenset((F.linear, F.conv2d, torch.matmul, torch.bmm, torch.baddbmm))
    HIGH = frozenset((F.layer_norm, F.group_norm))

    def __init__(self, compute: torch.dtype | None) -> None:
        """Choose the precision.

        Args:
            compute: autocast's, or None for no autocast.
        """
        super().__init__()
        self.compute = compute
        self._casts: dict[int, Tensor] | None = {}

    def forget(self) -> None:
        """Let the casts of weights go and keep no more, as in a backward pass."""
        self._casts = None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        attention = func is F.scaled_dot_product_attention
        if self.compute is not None and (attention or func in self.LOW):
            args, kwargs = tree_map(self._low, (args, kwargs))
        elif self.compute is not None and func in self.HIGH:
            args, kwargs = tree_map(_high, (args, kwargs))
        return _fused(*args[:3]) if attention else func(*args, **kwargs)

    def _low(self, value: object) -> object:
        if not isinstance(value, Tensor) or value.dtype != torch.float32:
            return value
        if self._casts is None or not (value.is_leaf and value.requires_grad):
            return value.to(self.compute)
        if id(value) not in self._casts:
            self._casts[id(value)] = value.to(self.compute)
        return self._casts[id(value)]


def _high(value: object) -> object:
    half = isinstance(value, Tensor) and value.is_floating_point()
    return value.to(torch.float32) if half and isinstance(value, Tensor) else value


def _fused(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attend by the fused operation, without the mask: it takes none, and needs no other memory."""
    width = query.shape[-1]
    padded = [F.pad(each, (0, -width % MULTIPLE)) for each in (query, key, value)]
    return torch.ops.aten._scaled_dot_product_flash_attention(*padded)[0][..., :width]
