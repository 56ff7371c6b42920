"""The reference a configuration asks for, on the networks of a bundle."""

from contextlib import nullcontext
from typing import Any

from diffpref import references
from diffpref.config.schema import ReferenceConfig
from diffpref.data.batches import CachedPairs
from diffpref.models import (
    Bundle,
    adapters_off,
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

    `frozen`, `ema` and `moving` hold a second set of the trainable parameters only: with a LoRA
    that is a second adapter on one network. Offloaded, the set waits in main memory and takes the
    policy's place once per optimizer step, for all its rows, while the policy's waits there. A
    budget is measured on images of `pairs`. With `shards` of the policy every copy is split like
    it.
    """
    policy = make_denoiser(bundle.unet, bundle)
    still = _still(config, bundle, policy)
    if still is not None:
        return still
    live, at_hand = trainable_parameters(bundle.unet), nullcontext
    if shards is None:
        own = references.copies(live, device="cpu" if config.offload else None)
        at_hand = references.loan(own, live, in_place=config.offload)
        net = references.borrowed(policy, at_hand)
    else:  # weights cannot be lent to shards; a copy's shares are as large as the set itself
        copy = shards.copy()
        own, net = dict(copy.named_parameters()), make_denoiser(copy, bundle)
    if config.kind == "frozen":
        return references.frozen(net, at_hand=at_hand)
    follows = {"own": own, "live": live, "refresh_every": config.refresh_every, "at_hand": at_hand}
    if config.kind == "ema":
        return references.ema(net, decay=config.decay, **follows)
    if config.budget is None:
        return references.refreshed(net, **follows)
    assert pairs is not None  # check_fits: a budget is measured on data
    return references.budgeted(
        net,
        divergence=make_probe(pairs, policy, bundle.schedule, config.probe),
        budget=config.budget,
        beyond=config.beyond,
        **follows,
    )


def _still(config: ReferenceConfig, bundle: Bundle, policy: Denoiser) -> Reference | None:
    """Return a reference that has no weights of its own, or None for the kinds that do."""
    if config.kind == "none":
        return references.none()
    if config.kind == "adapters_off":
        return references.adapters_off(policy, lambda: adapters_off(bundle.unet))
    if config.kind == "gate_off":
        return references.gate_off(policy)
    return None
