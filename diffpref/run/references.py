"""The reference a configuration asks for, on the networks of a bundle."""

from typing import Any

from diffpref import references
from diffpref.config.schema import ReferenceConfig
from diffpref.data.batches import CachedPairs
from diffpref.models import (
    Bundle,
    adapters_off,
    frozen_copy,
    make_denoiser,
    trainable_parameters,
)
from diffpref.references import Reference
from diffpref.run.probe import make_probe
from diffpref.train.shards import Shards
from diffpref.types import Denoiser


def make_reference(
    config: ReferenceConfig,
    bundle: Bundle,
    pairs: CachedPairs | None,
    shards: Shards[Any] | None = None,
) -> Reference:
    """Return the reference; call it after the adapter is in place and before training starts.

    `ema` and `moving` hold a second set of the trainable parameters only: with a LoRA that is a
    second adapter on one network. A budget is measured on images of `pairs`. With `shards` of the
    policy every copy is split like it.
    """
    policy = make_denoiser(bundle.unet, bundle)
    still = _still(config, bundle, policy, shards)
    if still is not None:
        return still
    live = trainable_parameters(bundle.unet)
    if shards is None:
        own = references.copies(live, device="cpu" if config.offload else None)
        net = references.borrowed(policy, own=own, live=live)
    else:  # weights cannot be lent to shards; a copy's shares are as large as the set itself
        copy = shards.copy()
        own, net = dict(copy.named_parameters()), make_denoiser(copy, bundle)
    if config.kind == "ema":
        return references.ema(
            net, own=own, live=live, decay=config.decay, refresh_every=config.refresh_every
        )
    if config.budget is None:
        return references.refreshed(net, own=own, live=live, refresh_every=config.refresh_every)
    assert pairs is not None  # check_fits: a budget is measured on data
    return references.budgeted(
        net,
        own=own,
        live=live,
        refresh_every=config.refresh_every,
        divergence=make_probe(pairs, policy, bundle.schedule, config.probe),
        budget=config.budget,
        beyond=config.beyond,
    )


def _still(
    config: ReferenceConfig, bundle: Bundle, policy: Denoiser, shards: Shards[Any] | None
) -> Reference | None:
    """Return a reference that never moves, or None for the kinds that do."""
    if config.kind == "none":
        return references.none()
    if config.kind == "adapters_off":
        return references.adapters_off(policy, lambda: adapters_off(bundle.unet))
    if config.kind == "gate_off":
        return references.gate_off(policy)
    if config.kind == "frozen":
        copy = frozen_copy(bundle.unet) if shards is None else shards.copy()
        return references.frozen(make_denoiser(copy, bundle))
    return None
