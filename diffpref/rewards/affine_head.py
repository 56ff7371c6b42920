"""A head of linear layers without activations, recognised by its keys."""

import re
from collections.abc import Sequence

import torch
from torch import nn

from diffpref.rewards.hf_clip import fill
from diffpref.rewards.state import State, Stored, WeightsMismatchError, bare, mismatch


def load_affine_head(
    stored: Stored, *, prefix: str, dropouts: Sequence[int], other: str
) -> nn.Sequential:
    """Return the linear layers `<prefix><n>.{weight,bias}` in order, float32, frozen.

    Args:
        stored: the head's file.
        prefix: of the published names.
        dropouts: numbers at which the published module has layers that do nothing when scoring.
        other: what to do if the layers have other numbers.

    Raises:
        WeightsMismatchError: other keys or shapes, such as those of LAION's sibling with ReLUs.
    """
    state = bare(stored.state)
    layer = re.compile(re.escape(prefix) + r"(\d+)\.(weight|bias)")
    found = {name: layer.fullmatch(name) for name in state}
    numbers = sorted({int(match[1]) for match in found.values() if match is not None})
    last = max(numbers, default=-1)
    if numbers != [n for n in range(last + 1) if n not in dropouts] or len(numbers) < 2:
        what = f"this is not the linear head: its layers {prefix}N are {numbers}"
        raise WeightsMismatchError(what, where=stored.where, hint=other)
    wanted = {
        f"{prefix}{n}.{kind}": f"{place}.{kind}"
        for place, n in enumerate(numbers)
        for kind in ("weight", "bias")
    }
    lost, extra = sorted(wanted.keys() - state), sorted(state.keys() - wanted)
    if lost or extra:
        raise mismatch(stored.where, "a linear head", lost, extra, "get it again")
    return _filled({ours: state[theirs] for theirs, ours in wanted.items()}, stored.where)


def _filled(state: State, where: str) -> nn.Sequential:
    """Return the layers of a complete state; each must fit the one before, the last give a score.

    Raises:
        WeightsMismatchError: they do not.
    """
    weights = [value for name, value in state.items() if name.endswith("weight")]
    outputs = [weight.shape[0] for weight in weights]
    fitting = all(weight.ndim == 2 for weight in weights) and outputs[-1] == 1
    if not fitting or outputs[:-1] != [weight.shape[1] for weight in weights[1:]]:
        shapes = ", ".join(str(tuple(weight.shape)) for weight in weights)
        what = f"layers of shapes {shapes} do not make one score"
        raise WeightsMismatchError(what, where=where, hint="get it again")
    with torch.device("meta"):
        head = nn.Sequential(*(nn.Linear(weight.shape[1], weight.shape[0]) for weight in weights))
    fill(head, state)
    return head.eval().requires_grad_(False)
