"""How a network computes: attention, freezing, copies, hashes."""

import importlib.util
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from hashlib import blake2b
from typing import TypeVar

import torch
from diffusers.models.attention_processor import AttnProcessor2_0
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.models.unets.unet_stable_cascade import StableCascadeUNet
from torch import Tensor, nn

from diffpref.errors import ConfigError, nearest

ATTENTIONS = ("sdpa", "xformers")
Network = TypeVar("Network", bound=nn.Module)


def set_attention(unet: UNet2DConditionModel | StableCascadeUNet, kind: str) -> None:
    """Choose the attention kernel.

    Raises:
        ConfigError: an unknown kernel, or xformers that is missing or cannot run here.
    """
    if kind not in ATTENTIONS:
        raise ConfigError(
            f"'{kind}' is not an attention kernel",
            where="model.attention",
            hint=nearest(kind, ATTENTIONS),
        )
    if isinstance(unet, StableCascadeUNet):
        if kind != "sdpa":
            hint = "set model.attention to sdpa"
            raise ConfigError(f"stage C has no {kind}", where="model.attention", hint=hint)
        return  # its layers have torch's own kernel from the start
    if kind == "sdpa":
        unet.set_attn_processor(AttnProcessor2_0())
        return
    if importlib.util.find_spec("xformers") is None:
        raise ConfigError(
            "xformers is not installed",
            where="model.attention",
            hint="set model.attention to sdpa (as fast), or: pip install 'diffpref[xformers]'",
        )
    if unet.device.type != "cuda":
        raise ConfigError(
            f"xformers needs an NVIDIA GPU and the model is on {unet.device.type}",
            where="model.attention",
            hint="set model.attention to sdpa",
        )
    unet.enable_xformers_memory_efficient_attention()


def freeze(net: Network) -> Network:
    """Stop training every parameter; returns the network."""
    return net.requires_grad_(False).eval()


def frozen_copy(net: Network) -> Network:
    """Return a copy that shares nothing with the network and does not train."""
    return freeze(deepcopy(net))


def cast_weights(net: Network, dtype: torch.dtype) -> Network:
    """Change the precision of every weight in place; returns the network."""
    nn.Module.to(net, dtype)  # diffusers' own `to` remarks on every call
    return net


def fingerprint(nets: Iterable[nn.Module]) -> str:
    """Return a hash of the names, shapes, dtypes and bits of all weights."""
    named = [
        (f"{index}.{name}", tensor)
        for index, net in enumerate(nets)
        for name, tensor in sorted(net.state_dict().items())
    ]
    with ThreadPoolExecutor(max_workers=4) as pool:  # hashing releases the interpreter's lock
        digests = pool.map(_digest, named)
        total = blake2b(digest_size=16)
        for digest in digests:
            total.update(digest)
    return total.hexdigest()


def _digest(named: tuple[str, Tensor]) -> bytes:
    name, tensor = named
    flat = tensor.detach().cpu().contiguous()
    head = f"{name} {tuple(flat.shape)} {flat.dtype} ".encode()
    bits = flat.reshape(-1).view(torch.uint8).numpy()
    total = blake2b(head, digest_size=16)
    total.update(bits.data)
    return total.digest()
