"""The most a step holds beyond its weights, followed through a pass on the meta device."""

from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from diffpref.models.checkpointing import Keep, recomputing
from diffpref.models.family import Family
from diffpref.models.live import AsOnCuda, Live
from diffpref.models.user_adapter import UserAdapter, user_adapter_of
from diffpref.schedule import scaled_linear
from diffpref.types import Conditioning, cast


@dataclass(frozen=True, kw_only=True)
class Worked:
    """How a step goes through its rows.

    rows: images of activations held at once. latent: c, h, w. keep: what checkpointing keeps.
    accumulates: whether gradients of earlier passes wait while a pass is made. wide: whether
    gradients are in float32 whatever the weights are in. in_backward: whether gradients are used
    and let go at once.
    """

    rows: int
    latent: tuple[int, int, int]
    keep: Keep
    accumulates: bool
    wide: bool = False
    in_backward: bool = False


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A network with its adapter in place, and how it computes.

    `rest` is what the run has beside it: the autoencoder and the text encoders.
    """

    unet: nn.Module
    family: Family
    dtype: torch.dtype
    rest: tuple[nn.Module, ...]

    def ghost(self) -> Any:
        """Return the network with every weight on the meta device; nothing is copied."""
        own = [*self.unet.parameters(), *self.unet.buffers()]
        memo: dict[int, Any] = {id(value): _empty(value) for value in own}
        return deepcopy(self.unet, memo)


def peak_of(model: Trained, cond: Conditioning, work: Worked) -> int:
    """Follow a pass forward and backward; return the most it held beyond the weights."""
    ghost = model.ghost().train()
    weights = list(ghost.parameters())
    for value in weights:
        if value.requires_grad:
            _prepare(value, work)
    wider = {value.dtype for value in weights} != {model.dtype}
    half = model.dtype in (torch.float16, torch.bfloat16)
    cuda = AsOnCuda(model.dtype if half and wider else None)
    if work.keep is False:
        ghost.disable_gradient_checkpointing()
    else:
        ghost.enable_gradient_checkpointing(recomputing(work.keep, lambda: cuda))
    told = cast(cond.rows(slice(0, 1)), torch.device("meta"), model.dtype).repeat_rows(work.rows)
    live = Live(weights)
    held = live.now
    for value in weights:
        if value.grad is not None:
            live.add(value.grad)
    steps = torch.zeros(work.rows, dtype=torch.long, device="meta")
    inputs = model.family.inputs(steps, told, scaled_linear(), model.dtype)
    users = user_adapter_of(ghost)
    told_whom = nullcontext() if users is None else users.told(_someone(users, model, work.rows))
    with cuda, live, told_whom:
        predicted = ghost(
            torch.empty((work.rows, *work.latent), device="meta", dtype=model.dtype),
            **inputs,
            return_dict=False,
        )[0]
        cuda.forget()
        # as measured: an error per row, in float32
        torch.autograd.backward(predicted.float().square().mean(dim=(1, 2, 3)).sum())
    return live.peak - held


def _someone(users: UserAdapter, model: Trained, rows: int) -> Tensor:
    """Return a vector per row, without its numbers: only somebody's row teaches the adapter."""
    return torch.empty(rows, 1, users.width, device="meta", dtype=model.dtype)


def _prepare(value: Tensor, work: Worked) -> None:
    """Give a weight the gradient that waits for more, or let go what comes."""
    if work.wide:
        value.grad_dtype = torch.float32
    if work.accumulates:
        value.grad = torch.empty_like(value, dtype=torch.float32 if work.wide else value.dtype)
    if work.in_backward:
        value.register_post_accumulate_grad_hook(_let_go)


def _let_go(value: Tensor) -> None:
    value.grad = None


def _empty(value: Tensor) -> Tensor:
    shape = torch.empty_like(value, device="meta")
    if isinstance(value, nn.Parameter):
        return nn.Parameter(shape, requires_grad=value.requires_grad)
    return shape
