"""Networks split over processes (FSDP2), and tensors on their way into shards and out of them.

torch's `fully_shard` is called here and not through accelerate, which knows FSDP on GPUs only:
so what is tested on two CPU processes is what runs on eight GPUs.
"""

from collections.abc import Callable, Collection, Generator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeGuard, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

if TYPE_CHECKING:
    from torch.distributed.fsdp import FSDPModule
    from torch.distributed.tensor import DTensor

Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True, kw_only=True)
class Shards(Generic[Network]):
    """A network every process holds a share of, and what is needed to copy and to rebuild it.

    Attributes:
        net: the network, split in place. Calling it gathers one block at a time and lets it go
            again, so all processes must call it equally often (but see `in_own_time`).
        form: what it was before, without weights.
        device: where the shares are.
        cut: splits another network of this form in place.
        split: every network split so far.
    """

    net: Network
    form: Network
    device: torch.device
    cut: Callable[[nn.Module], None] = field(repr=False)
    split: list[nn.Module]

    @torch.no_grad()
    def copy(self) -> Network:
        """Return a frozen copy of the network as it is now, split alike: no process holds it whole.

        Its parameters have the names and the layout of the network's own.
        """
        twin = deepcopy(self.form).requires_grad_(False).eval()
        self.cut(twin)
        twin.to_empty(device=self.device)
        self.split.append(twin)
        for mine, theirs in zip(_tensors(twin), _tensors(self.net), strict=True):
            mine.copy_(theirs)
        return twin

    def whole(self, *, keep: bool) -> Network | None:
        """Return the network in one piece on the CPU of processes that keep it; all must call."""
        weights = gathered(self.net.state_dict(), keep=keep)
        if not keep:
            return None
        plain = deepcopy(self.form)
        plain.load_state_dict(weights, assign=True)
        return plain

    @contextmanager
    def in_own_time(self) -> Generator[None]:
        """Let processes call the networks differently often inside, if all call at all.

        The first call gathers the weights, which then stay until the end: a process holds the
        network whole meanwhile. Inversion needs it: how far a row climbs depends on its t.
        """
        for net in self.split:
            cast("FSDPModule", net).set_reshard_after_forward(False)
        try:
            yield
        finally:
            for net in self.split:
                cast("FSDPModule", net).set_reshard_after_forward(True)
                for part in _parts(net):
                    part.reshard()


def shard(
    net: Network, *, device: torch.device, blocks: Collection[str], compute: torch.dtype | None
) -> Shards[Network]:
    """Split a network in place over all processes, which must hold equal weights.

    Every parameter is cut along its first axis, and is a new object afterwards: make optimizers
    later. Gradients are averaged over processes in at least float32.

    Args:
        net: on any device; its parameters have one dtype.
        device: this process's.
        blocks: class names of the modules gathered as one; the rest is one more.
        compute: precision weights are gathered in; None is their own.
    """
    form, cut = _form(net), partial(_cut, device=device, blocks=frozenset(blocks), compute=compute)
    cut(net)
    return Shards(net=net, form=form, device=device, cut=cut, split=[net])


def gathered(tensors: Mapping[str, Tensor], *, keep: bool) -> dict[str, Tensor]:
    """Return whole tensors, those that were shards on the CPU; nothing unless `keep`.

    All processes must call it with the same names. Only one tensor at a time is whole on a
    process that does not keep it.
    """
    kept: dict[str, Tensor] = {}
    for name, value in tensors.items():
        full = whole(value)
        if keep:
            kept[name] = full.cpu() if _is_shard(value) else full
    return kept


def whole(value: Tensor) -> Tensor:
    """Return a tensor in one piece; if it is a shard, all processes must call."""
    if not _is_shard(value):
        return value
    share: Any = value.detach()  # typed as an ordinary tensor
    return share.full_tensor()


def laid_out(value: Tensor, like: Tensor) -> Tensor:
    """Return a whole tensor in the layout of what belongs to `like`, without communication.

    Next to a sharded parameter, what has its shape is sharded with it, what has another shape is
    held whole by every process; numbers and everything next to ordinary tensors stay ordinary.
    Every process must pass the same tensor.
    """
    if not _is_shard(like) or value.dim() == 0:
        return value
    from torch.distributed.tensor import Replicate, distribute_tensor

    mesh = like.device_mesh
    where = like.placements if value.shape == like.shape else [Replicate()] * mesh.ndim
    share = distribute_tensor(value.to(like.device), mesh, where, src_data_rank=None)
    return share.clone()  # it was a view, which would keep the whole tensor in memory


def _form(net: Network) -> Network:
    """Copy a network without its weights, onto the meta device."""
    ghosts: dict[int, object] = {
        id(value): nn.Parameter(torch.empty_like(value, device="meta"), value.requires_grad)
        for value in net.parameters()
    }
    return deepcopy(net, ghosts)


def _cut(
    net: nn.Module, *, device: torch.device, blocks: frozenset[str], compute: torch.dtype | None
) -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    reduce = None if compute is None else torch.float32
    # the caller's autocast decides on inputs, as it does without shards
    policy = MixedPrecisionPolicy(
        param_dtype=compute, reduce_dtype=reduce, cast_forward_inputs=False
    )
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    parts = [part for part in net.modules() if type(part).__name__ in blocks and part is not net]
    # The outermost comes last. It too lets go after a pass (torch's default keeps it): else a pass
    # after a change of the shares, as by an average put in place, would see old weights.
    for part in (*parts, net):
        fully_shard(part, mesh=mesh, reshard_after_forward=True, mp_policy=policy)


def _tensors(net: nn.Module) -> list[Tensor]:
    return [*net.parameters(), *net.buffers()]


def _parts(net: nn.Module) -> "list[FSDPModule]":
    from torch.distributed.fsdp import FSDPModule

    return [part for part in net.modules() if isinstance(part, FSDPModule)]


def _is_shard(value: Tensor) -> "TypeGuard[DTensor]":
    if not dist.is_available():
        return False
    from torch.distributed.tensor import DTensor

    return isinstance(value, DTensor)
