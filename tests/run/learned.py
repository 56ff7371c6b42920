"""What a run learned, as its newest checkpoint keeps it, and how far two runs are apart."""

from pathlib import Path

import torch

from diffpref.train.store import Store


def trained(folder: Path) -> dict[str, torch.Tensor]:
    """Return the weights that trained."""
    newest = Store(folder / "checkpoints").latest()
    assert newest is not None
    return newest.tensors("trainable")


def distance(one: Path, other: Path) -> float:
    """Return the largest difference of a weight."""
    mine, theirs = trained(one), trained(other)
    assert mine.keys() == theirs.keys()
    return max(float((mine[name] - theirs[name]).abs().max()) for name in mine)
