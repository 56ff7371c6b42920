"""What a step will hold in memory, counted by a forward pass on the meta device."""

from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from diffpref.models import Bundle, trainable_parameters
from diffpref.models.memory import cast_weights
from diffpref.types import Conditioning, cast


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """Bytes by what they are for. Kernels' work space and the allocator's slack come on top."""

    weights: int
    gradients: int
    optimizer: int
    activations: int

    @property
    def total(self) -> int:
        return self.weights + self.gradients + self.optimizer + self.activations


def footprint(
    bundle: Bundle,
    cond: Conditioning,
    *,
    rows: int,
    latent: tuple[int, int, int],
    copies: int,
    optimizer_bytes: float,
    shards: int = 1,
) -> Footprint:
    """Estimate what one process holds in a step on `rows` images of activations.

    Args:
        bundle: the model, its adapter in place.
        cond: the conditioning of one prompt, for the shapes.
        rows: images per pass.
        latent: c, h, w of a latent.
        copies: further sets of UNet weights (a frozen reference).
        optimizer_bytes: optimizer state per trainable number.
        shards: processes that share the UNet, its copies, gradients and optimizer state.
    """
    rest = (bundle.vae, *bundle.text.encoders)
    unet = _size(bundle.unet.parameters())
    trained = list(trainable_parameters(bundle.unet).values())
    numbers = sum(value.numel() for value in trained)
    return Footprint(
        weights=sum(_size(net.parameters()) for net in rest) + (1 + copies) * unet // shards,
        gradients=_size(trained) // shards,
        optimizer=int(numbers * optimizer_bytes) // shards,
        activations=_activations(bundle, cond, rows, latent),
    )


def _activations(
    bundle: Bundle, cond: Conditioning, rows: int, latent: tuple[int, int, int]
) -> int:
    """Count what autograd would keep for the backward pass, each storage once."""
    # in one precision: what autocast would make of wider trainable weights
    ghost = cast_weights(deepcopy(bundle.unet), bundle.dtype)
    nn.Module.to(ghost, "meta")
    told = cast(cond.rows(slice(0, 1)), torch.device("meta"), bundle.dtype).repeat_rows(rows)
    own = {value.untyped_storage()._cdata for value in ghost.parameters()}
    held: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()._cdata
        if storage not in own:  # views of the weights cost nothing
            held[storage] = tensor
        return tensor

    x_t = torch.empty((rows, *latent), device="meta", dtype=bundle.dtype)
    t = torch.zeros(rows, dtype=torch.long, device="meta")
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        ghost(
            x_t,
            t,
            encoder_hidden_states=told.text,
            added_cond_kwargs=bundle.family.added(told),
            return_dict=False,
        )
    return _size(held.values())


def _size(values: Iterable[Tensor]) -> int:
    return sum(value.numel() * value.element_size() for value in values)
