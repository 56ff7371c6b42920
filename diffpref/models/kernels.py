"""The kernels that can compute attention, by name, and the shapes they are asked for."""

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

Queries = Float[Tensor, "n heads l d"]
Keys = Float[Tensor, "n heads s d"]
Attend = Callable[[Queries, Keys, Keys], Queries]


@dataclass(frozen=True, kw_only=True)
class Site:
    """What an attention layer computes: queries, keys, heads and the width of one."""

    queries: int
    keys: int
    heads: int
    width: int


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """A way to attend. cuda: it needs an NVIDIA GPU. package: what must be installed for it."""

    attend: Attend
    cuda: bool = True
    package: str | None = None


def _of_torch(backend: SDPBackend) -> Attend:
    def attend(query: Queries, key: Keys, value: Keys) -> Queries:
        with sdpa_kernel(backend):
            return F.scaled_dot_product_attention(query, key, value)

    return attend


def _xformers(query: Queries, key: Keys, value: Keys) -> Queries:
    from xformers.ops import memory_efficient_attention  # pyright: ignore[reportMissingImports]

    swapped = [each.transpose(1, 2) for each in (query, key, value)]  # it reads [n l heads d]
    return memory_efficient_attention(*swapped).transpose(1, 2)


def _flash_attn(query: Queries, key: Keys, value: Keys) -> Queries:
    from flash_attn import flash_attn_func  # pyright: ignore[reportMissingImports]

    swapped = [each.transpose(1, 2) for each in (query, key, value)]  # it reads [n l heads d]
    return flash_attn_func(*swapped).transpose(1, 2)


KERNELS: Mapping[str, Kernel] = MappingProxyType(
    {
        "sdpa": Kernel(attend=F.scaled_dot_product_attention, cuda=False),
        "flash": Kernel(attend=_of_torch(SDPBackend.FLASH_ATTENTION), cuda=False),
        "cudnn": Kernel(attend=_of_torch(SDPBackend.CUDNN_ATTENTION)),
        "efficient": Kernel(attend=_of_torch(SDPBackend.EFFICIENT_ATTENTION)),
        "math": Kernel(attend=_of_torch(SDPBackend.MATH), cuda=False),
        "xformers": Kernel(attend=_xformers, package="xformers"),
        "flash_attn": Kernel(attend=_flash_attn, package="flash_attn"),
    }
)
"""Every kernel by the name a configuration may give. What sdpa is: torch's own choice."""


def lacking(kind: str, device: torch.device) -> tuple[str, str] | None:
    """Return what a kernel lacks to run on a device, and what to do; None if nothing is known."""
    kernel = KERNELS[kind]
    if kernel.package is not None and importlib.util.find_spec(kernel.package) is None:
        extra = "'diffpref[xformers]'" if kind == "xformers" else "flash-attn"
        how = f"set model.attention to sdpa (as fast), or: pip install {extra}"
        return f"{kernel.package} is not installed", how
    if kernel.cuda and device.type != "cuda":
        what = f"{kind} needs an NVIDIA GPU and the model is on {device.type}"
        return what, "set model.attention to sdpa"
    return None
