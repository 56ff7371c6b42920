"""FSDP as `accelerate launch` was told to do it: read, checked against the run, and applied."""

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from accelerate.utils import FullyShardedDataParallelPlugin

from diffpref.config.schema import RunConfig
from diffpref.errors import ConfigError, nearest
from diffpref.models import Bundle
from diffpref.train.shards import Shards, shard

BLOCKS = ("BasicTransformerBlock", "ResnetBlock2D")
"""What is gathered as one unless the launcher says otherwise: most of a UNet, in small pieces."""

UNTRIED = {
    "compile_blocks": "compiled blocks and shards were not tried together",
    "cuda_graphs": "a recorded pass reads weights in one place, and shards are gathered anew",
}
"""Fields of `model` that shards are not used with, and why."""

PLAIN = "or launch with configs/accelerate/ddp.yaml"


class _Refused(NamedTuple):
    """A setting of the launcher that does not fit: its variable, when, name, why, what to do."""

    variable: str
    when: Callable[[str], bool]
    where: str
    what: str
    hint: str


_REFUSED = (
    _Refused(
        "FSDP_VERSION",
        lambda value: value != "2",
        "fsdp_version",
        "only FSDP2 is supported",
        "set fsdp_version: 2, as configs/accelerate/fsdp.yaml does",
    ),
    _Refused(
        "FSDP_RESHARD_AFTER_FORWARD",
        lambda value: value in ("false", "shard_grad_op", "no_shard"),
        "fsdp_reshard_after_forward",
        "weights that stay gathered between passes go stale",
        f"set fsdp_reshard_after_forward: true, {PLAIN}",
    ),
    _Refused(
        "FSDP_OFFLOAD_PARAMS",
        lambda value: value == "true",
        "fsdp_offload_params",
        "shards are kept on the GPUs",
        "set fsdp_offload_params: false; use more GPUs, or optimizer.name=adafactor",
    ),
    _Refused(
        "FSDP_ACTIVATION_CHECKPOINTING",
        lambda value: value == "true",
        "fsdp_activation_checkpointing",
        "the run's configuration decides on that",
        "set fsdp_activation_checkpointing: false and model.gradient_checkpointing=true",
    ),
    _Refused(
        "FSDP_AUTO_WRAP_POLICY",
        lambda value: value == "size_based_wrap",
        "fsdp_auto_wrap_policy",
        "blocks are chosen by name",
        "set fsdp_auto_wrap_policy: TRANSFORMER_BASED_WRAP",
    ),
)


def launched() -> bool:
    """Tell whether the launcher asked for FSDP; it says so in the environment."""
    return os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"


def fsdp_plugin(config: RunConfig) -> FullyShardedDataParallelPlugin | None:
    """Return the launcher's settings for accelerate, or None without FSDP. Loads nothing.

    Every process loads the model: what accelerate calls efficient loading lets transformers leave
    what it loads empty on all processes but the first, and text encoders are not sharded.

    Raises:
        ConfigError: a setting of the run or of the launcher does not go with FSDP.
    """
    if not launched():
        return None
    _check(config)
    for each in _REFUSED:
        if each.when(os.environ.get(each.variable, "").lower()):
            raise ConfigError(each.what, where=each.where, hint=each.hint)
    return FullyShardedDataParallelPlugin(
        fsdp_version=2, reshard_after_forward=True, cpu_ram_efficient_loading=False
    )


def shard_policy(config: RunConfig, bundle: Bundle, *, processes: int) -> Shards[Any] | None:
    """Split the bundle's UNet in place if the run has several processes and FSDP was launched.

    Raises:
        ConfigError: the launcher names a block the UNet does not have.
    """
    plugin = fsdp_plugin(config)
    if plugin is None or processes == 1:
        return None
    half = bundle.dtype in (torch.float16, torch.bfloat16)
    blocks = plugin.transformer_cls_names_to_wrap or BLOCKS
    kinds = {type(part).__name__ for part in bundle.unet.modules()}
    for name in blocks:
        if name not in kinds:
            raise ConfigError(
                f"the UNet has no {name}",
                where="fsdp_transformer_layer_cls_to_wrap",
                hint=nearest(name, kinds),
            )
    return shard(
        bundle.unet, device=bundle.device, blocks=blocks, compute=bundle.dtype if half else None
    )


def whole_bundle(bundle: Bundle, shards: Shards[Any] | None, *, keep: bool) -> Bundle:
    """Return the bundle with its UNet in one piece, on processes that keep it; all must call."""
    unet = None if shards is None else shards.whole(keep=keep)
    return bundle if unet is None else replace(bundle, unet=unet)


def _check(config: RunConfig) -> None:
    """Refuse what shards cannot do or do not help."""
    if config.rollout is not None:
        what = "rollouts sample with whole weights, and FSDP leaves a process a share of them"
        raise ConfigError(what, where="rollout", hint=f"learn from data, {PLAIN}")
    if config.adapter.kind != "full":
        what = "FSDP splits what trains, and a LoRA is too small to be split"
        hint = "launch with configs/accelerate/ddp.yaml, or set adapter.kind: full"
        raise ConfigError(what, where="adapter.kind", hint=hint)
    if config.optimizer.name == "adamw8bit":
        what = "8-bit states are in blocks that cannot be cut anew for another number of GPUs"
        hint = f"set optimizer.name: adamw (its states are split) or adafactor, {PLAIN}"
        raise ConfigError(what, where="optimizer.name", hint=hint)
    if config.optimizer.name == "adafactor_flat" or config.optimizer.in_backward:
        field = "in_backward" if config.optimizer.in_backward else "name"
        hint = f"set optimizer.name: adamw or adafactor and optimizer.in_backward: false, {PLAIN}"
        what = "shards are updated together and in their own shape"
        raise ConfigError(what, where=f"optimizer.{field}", hint=hint)
    if config.adapter.precision != "fp32":
        what = "shards are kept in float32"
        hint = f"set adapter.precision: fp32, {PLAIN}"
        raise ConfigError(what, where="adapter.precision", hint=hint)
    field = next((name for name in UNTRIED if getattr(config.model, name)), None)
    if field is not None:
        hint = f"set model.{field}: false, {PLAIN}"
        raise ConfigError(UNTRIED[field], where=f"model.{field}", hint=hint)
    if config.reference.offload:
        what = "under FSDP a process holds a share of the reference only"
        hint = "set reference.offload: false"
        raise ConfigError(what, where="reference.offload", hint=hint)
