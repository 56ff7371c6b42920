"""What the loop needs of the processes it runs in: the typed part of accelerate's Accelerator."""

from collections.abc import Iterable, Mapping
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn


@runtime_checkable
class Processes(Protocol):
    """One process among `num_processes`. An `accelerate.Accelerator` is one."""

    @property
    def device(self) -> torch.device: ...

    @property
    def num_processes(self) -> int: ...

    @property
    def process_index(self) -> int: ...

    @property
    def is_main_process(self) -> bool: ...

    def gather(self, tensor: Tensor, /) -> Tensor:
        """Concatenate a tensor over processes in order of rank."""
        ...

    def clip_grad_norm_(
        self, parameters: Iterable[nn.Parameter], max_norm: float, /
    ) -> Tensor | None: ...

    def log(self, values: Mapping[str, float], /, *, step: int) -> None: ...

    def wait_for_everyone(self) -> None: ...
