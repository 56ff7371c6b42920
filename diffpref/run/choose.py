"""What `auto` means for a run on a card: what of its activations is kept."""

from dataclasses import replace

import torch

from diffpref.config.schema import RunConfig
from diffpref.models import Bundle
from diffpref.models.checkpointing import Keep
from diffpref.models.place import beside
from diffpref.run.fit import OVERHEAD, USABLE, held_rows, side_of
from diffpref.run.memory import copies_of, footprint, state_bytes, worked
from diffpref.run.peak import Trained
from diffpref.types import Conditioning

KEEPS: tuple[Keep, ...] = (False, "keep_matmuls", "keep_convs", True)
"""From the cheapest in arithmetic to the smallest."""


def settled(config: RunConfig, bundle: Bundle, *, card: int | None = None) -> RunConfig:
    """Return the configuration with `model.gradient_checkpointing: auto` decided.

    It is the cheapest that is predicted to fit: on a CPU nothing is computed twice. Compiled
    blocks keep all or nothing.

    Args:
        config: of a run.
        bundle: its model, the adapter in place.
        card: bytes of the card's memory; None asks the device.
    """
    if config.model.gradient_checkpointing != "auto":
        return config
    size = card_bytes(bundle.device) if card is None else card
    choices = (False, True) if config.model.compile_blocks else KEEPS
    if size is None:
        return _with(config, False)
    return next(
        (
            chosen
            for chosen in (_with(config, keep) for keep in choices)
            if _needed(chosen, bundle) <= USABLE * size
        ),
        _with(config, True),
    )


def card_bytes(device: torch.device) -> int | None:
    """Return the memory of a card, or None for what is no card."""
    if device.type != "cuda":
        return None
    return int(torch.cuda.get_device_properties(device).total_memory)


def trained_of(config: RunConfig, bundle: Bundle) -> Trained:
    """Return a run's network, and what stands beside it on the device while it learns."""
    return Trained(
        unet=bundle.unet,
        family=bundle.family,
        dtype=bundle.dtype,
        rest=() if config.rollout is None else beside(bundle),
    )


def told_of(bundle: Bundle, cond: Conditioning, side: int) -> Conditioning:
    """Return a conditioning with the ids of square images, where the family has such."""
    size = torch.tensor([[side, side]])
    return replace(cond, time_ids=bundle.family.time_ids(size, torch.zeros_like(size), size))


def _with(config: RunConfig, keep: Keep) -> RunConfig:
    model = config.model.model_copy(update={"gradient_checkpointing": keep})
    return config.model_copy(update={"model": model})


def _needed(config: RunConfig, bundle: Bundle) -> float:
    side, held = side_of(config, bundle.resolution), held_rows(config)
    found = footprint(
        trained_of(config, bundle),
        told_of(bundle, bundle.encode_text([""]), side),
        worked(
            config,
            latent=bundle.latent_shape(side, side),
            rows=min(held, config.loop.rows_per_pass or held),
            held=held,
        ),
        copies=copies_of(config),
        optimizer_bytes=state_bytes(config, bundle.unet),
    )
    return found.total + OVERHEAD
