"""Which activations wait for the backward pass, and which are computed anew in it.

Costs are multiply-adds of one Diffusion-DPO pair relative to keeping everything, and kept
activations, both counted on the meta device (docs/benchmarks/log.md); SD1.5 and SDXL.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from typing import Any, Literal

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.models.unets.unet_stable_cascade import StableCascadeUNet
from torch import nn
from torch.utils.checkpoint import (
    CheckpointPolicy,
    checkpoint,
    create_selective_checkpoint_contexts,
)

from diffpref.models.user_adapter import user_adapter_of

Keep = bool | Literal["keep_matmuls", "keep_convs"]
"""False keeps all activations, True the input of every block; the others are in between."""

aten = torch.ops.aten
ATTENTION = frozenset(
    (
        aten._scaled_dot_product_flash_attention.default,
        aten._scaled_dot_product_flash_attention_for_cpu.default,
        aten._scaled_dot_product_efficient_attention.default,
        aten._scaled_dot_product_cudnn_attention.default,
    )
)
CONVS = frozenset((aten.convolution.default,))
MATMULS = frozenset((aten.mm.default, aten.addmm.default, aten.bmm.default, aten.baddbmm.default))

KEPT = {"keep_matmuls": ATTENTION | CONVS | MATMULS, "keep_convs": ATTENTION | CONVS}
"""Operations whose results are kept. What is left of `keep_matmuls` to compute is cheap: norms,
activations, sums."""


def set_checkpointing(unet: UNet2DConditionModel | StableCascadeUNet, keep: Keep) -> None:
    """Recompute activations in the backward pass instead of keeping them.

    Call it after `make_adapter`: a network with users recomputes with the users of the forward.

    Args:
        unet: the network, whose blocks are checkpointed.
        keep: False: everything is kept. "keep_matmuls": results of convolutions, matrix products
            and attention are. "keep_convs": of convolutions and attention. True: of nothing
            inside a block.
    """
    if keep is False:
        unet.disable_gradient_checkpointing()
        return
    users = user_adapter_of(unet)
    again = nullcontext if users is None else lambda: users.lent(users.current)
    unet.enable_gradient_checkpointing(recomputing(keep, again))


def recomputing(keep: Keep, again: Callable[[], AbstractContextManager[Any]]) -> Callable[..., Any]:
    """Return what runs a block and lets its activations go.

    Args:
        keep: as above.
        again: called in the forward pass; returns what the block is recomputed in.
    """

    def contexts() -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
        if keep is True:
            return nullcontext(), again()
        forward, recompute = create_selective_checkpoint_contexts(partial(_policy, KEPT[str(keep)]))
        return forward, _both(recompute, again())

    def run(block: nn.Module, *args: Any) -> Any:
        return checkpoint(block.__call__, *args, use_reentrant=False, context_fn=contexts)

    return run


def _policy(kept: frozenset[Any], ctx: Any, op: Any, *args: Any, **kwargs: Any) -> CheckpointPolicy:
    del ctx, args, kwargs
    return CheckpointPolicy.MUST_SAVE if op in kept else CheckpointPolicy.PREFER_RECOMPUTE


@contextmanager
def _both(*contexts: AbstractContextManager[Any]) -> Iterator[None]:
    with ExitStack() as stack:
        for each in contexts:
            stack.enter_context(each)
        yield
