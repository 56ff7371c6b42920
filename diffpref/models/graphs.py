"""CUDA graphs of passes without gradient: recorded once per shape, replayed without launches.

What a replay saves is the time the processor takes to start kernels one by one, which a GPU waits
for when a pass has few images. It computes what the recorded pass computed: the same kernels on the
same addresses, so that weights may change in place but not move.
"""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from logging import getLogger
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

MOST = 32
"""Graphs of a run. Inversion runs on fewer and fewer rows, each number a shape of its own."""

WARM = 3
"""Passes before one is recorded: libraries choose kernels and take work space in the first."""

Run = Callable[[], Tensor]
Replay = Callable[[], Tensor]
Record = Callable[[Run], Replay]

FULL = "model.cuda_graphs: %d shapes are recorded; further ones run as they are"

log = getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What of a network decides whether a recorded pass still holds."""

    net: nn.Module
    layers: tuple[BaseTunerLayer, ...]
    weights: tuple[Tensor, ...]


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """A recorded pass: the tensors it reads, and what replays it."""

    inputs: tuple[Tensor, ...]
    replay: Replay


@dataclass(frozen=True, kw_only=True)
class Graphs:
    """Runs passes by replaying them; one for all networks of a run.

    A pass is recorded for every shape, precision and place of weights, and once more with adapters
    off. Passes with gradient, and networks that are on no GPU, run as they are.

    Attributes:
        record: records a pass; None records on CUDA, and lets other devices be.
        most: graphs kept; passes of further shapes run as they are.
    """

    record: Record | None = None
    most: int = MOST
    kept: dict[Hashable, Recorded] = field(default_factory=dict[Hashable, Recorded], repr=False)
    parts: dict[int, Parts] = field(default_factory=dict[int, Parts], repr=False)
    pool: list[Any] = field(default_factory=list[Any], repr=False)

    def __call__(self, net: nn.Module, x: Tensor, told: Mapping[str, Any]) -> Tensor:
        """Return `net(x, **told)` without gradient, a tensor of its own.

        Args:
            net: returns a tuple whose first entry is the prediction.
            x: [n c h w].
            told: tensors, possibly nested in mappings; whatever else is in it is part of the shape.
        """
        if torch.is_grad_enabled() or (self.record is None and x.device.type != "cuda"):
            return net(x, **told)[0]
        leaves, tree = tree_flatten((x, dict(told)))
        key = (str(tree), *(_shape(each) for each in leaves), *self._weights(net))
        if key not in self.kept and len(self.kept) >= self.most:
            log.warning(FULL, self.most)
            return net(x, **told)[0]
        with torch.cuda.device_of(x):
            if key not in self.kept:
                self.kept[key] = self._recorded(net, leaves, tree)
            found = self.kept[key]
            given = (each for each in leaves if isinstance(each, Tensor))
            for mine, value in zip(found.inputs, given, strict=True):
                mine.copy_(value)
            return found.replay().clone()  # the next replay writes where this one did

    def _weights(self, net: nn.Module) -> tuple[Hashable, ...]:
        """Return where a network's weights are, which adapters are off, and autocast's state."""
        if id(net) not in self.parts:  # found once: a network has thousands of modules
            layers = tuple(each for each in net.modules() if isinstance(each, BaseTunerLayer))
            self.parts[id(net)] = Parts(net=net, layers=layers, weights=tuple(net.parameters()))
        parts = self.parts[id(net)]
        off = tuple(layer.disable_adapters for layer in parts.layers)
        places = tuple(value.data_ptr() for value in parts.weights)
        return (id(net), torch.is_autocast_enabled("cuda"), off, places)

    def _recorded(self, net: nn.Module, leaves: list[Any], tree: TreeSpec) -> Recorded:
        own = [each.clone() if isinstance(each, Tensor) else each for each in leaves]
        x, told = tree_unflatten(own, tree)
        replay = (self.record or self._on_cuda)(lambda: net(x, **told)[0])
        inputs = tuple(each for each in own if isinstance(each, Tensor))
        return Recorded(inputs=inputs, replay=replay)

    def _on_cuda(self, run: Run) -> Replay:
        """Record a pass on the current GPU; all graphs share their memory, as none run at once."""
        if not self.pool:
            self.pool.append(torch.cuda.graph_pool_handle())
        cached = torch.is_autocast_cache_enabled()
        # a cast that autocast kept from before would be read, and never made again
        torch.clear_autocast_cache()
        torch.set_autocast_cache_enabled(False)
        try:
            aside = torch.cuda.Stream()
            aside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(aside):
                for _ in range(WARM):
                    run()
            torch.cuda.current_stream().wait_stream(aside)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=self.pool[0]):
                out = run()
        finally:
            torch.set_autocast_cache_enabled(cached)

        def replay() -> Tensor:
            graph.replay()
            return out

        return replay


def _shape(value: Any) -> Hashable:
    if isinstance(value, Tensor):
        return (tuple(value.shape), value.stride(), value.dtype, str(value.device))
    return value
