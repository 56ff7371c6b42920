"""What a checkpoint holds of a learner, and putting it back."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from diffpref.train.manifest import Checkpoint
from diffpref.train.optim import load_optimizer, optimizer_tensors
from diffpref.train.shards import gathered, laid_out
from diffpref.train.step import Learner
from diffpref.types import Adaptive

TRAINABLE, OPTIMIZER, EMA, REFERENCE = "trainable", "optimizer", "ema", "reference"
OBJECTIVE = "objective"


def snapshot(learner: Learner[Any]) -> dict[str, Mapping[str, Tensor]]:
    """Return the groups of tensors a checkpoint stores, whole, on the main process.

    Every process must call it; the others get empty groups.
    """
    files: dict[str, Mapping[str, Tensor]] = {
        TRAINABLE: {name: value.detach() for name, value in learner.parameters.items()},
        OPTIMIZER: optimizer_tensors(learner.optimizer, learner.parameters),
    }
    if learner.ema is not None:
        files[EMA] = learner.ema.average
    if learner.reference.state:
        files[REFERENCE] = learner.reference.state
    if isinstance(learner.objective, Adaptive) and learner.objective.state:
        files[OBJECTIVE] = learner.objective.state
    keep = learner.processes.is_main_process
    return {group: gathered(tensors, keep=keep) for group, tensors in files.items()}


@torch.no_grad()
def restore(learner: Learner[Any], found: Checkpoint) -> None:
    """Put the tensors of a checkpoint back in place, each process its share.

    Raises:
        CheckpointError: the checkpoint lacks a group this run needs.
    """
    _fill(learner.parameters, found.tensors(TRAINABLE))
    load_optimizer(learner.optimizer, learner.parameters, found.tensors(OPTIMIZER))
    if learner.ema is not None:
        _fill(learner.ema.average, found.tensors(EMA))
    if learner.reference.state:
        _fill(learner.reference.state, found.tensors(REFERENCE))
    if isinstance(learner.objective, Adaptive) and learner.objective.state:
        _fill(learner.objective.state, found.tensors(OBJECTIVE))


def _fill(own: Mapping[str, Tensor], stored: Mapping[str, Tensor]) -> None:
    for name, value in own.items():
        value.copy_(laid_out(stored[name], value))
