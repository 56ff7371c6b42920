"""The truncated UNet gives the stock UNet's own activations, and no gradient to its weights."""

from typing import Any

import pytest
import torch

from diffpref.errors import ConfigError
from diffpref.models import (
    AdapterConfig,
    Bundle,
    embedder_of,
    make_adapter,
    make_denoiser,
    trainable_parameters,
)
from diffpref.types import Conditioning


def _inputs(bundle: Bundle) -> tuple[torch.Tensor, torch.Tensor, Conditioning]:
    cond = bundle.encode_text(["a red circle", "two blue squares"])
    sizes = torch.tensor([[32, 32], [32, 16]])
    ids = bundle.family.time_ids(sizes, torch.zeros_like(sizes), sizes)
    shape = bundle.latent_shape(32, 32)
    rng = torch.Generator().manual_seed(3)
    x = torch.randn(2, *shape, generator=rng)
    cond = Conditioning(text=cond.text, pooled=cond.pooled, time_ids=ids)
    return x, torch.tensor([3, 700]), cond


@pytest.mark.parametrize("layer", ["down", "mid"])
def test_features_are_the_stock_networks_activations(bundle: Bundle, layer: str) -> None:
    seen: dict[str, Any] = {}
    net = bundle.unet
    module = net.down_blocks[-1] if layer == "down" else net.mid_block
    assert module is not None

    def note(_module: Any, _args: Any, output: Any) -> None:
        seen["output"] = output[0] if isinstance(output, tuple) else output

    hook = module.register_forward_hook(note)
    x, t, cond = _inputs(bundle)
    make_denoiser(net, bundle)(x, t, cond)
    hook.remove()
    features = embedder_of(bundle)(layer)(x, t, cond)
    assert torch.equal(features, seen["output"])


def test_adapters_and_later_training_do_not_reach_it(bundle: Bundle) -> None:
    x, t, cond = _inputs(bundle)
    before = embedder_of(bundle)("down")(x, t, cond)
    make_adapter(bundle, AdapterConfig(rank=2, seed=0))
    embedder = embedder_of(bundle)("down")
    for parameter in trainable_parameters(bundle.unet).values():
        parameter.data.add_(0.1)
    x.requires_grad_()
    features = embedder(x, t, cond)
    assert torch.equal(features, before)
    features.square().sum().backward()
    assert x.grad is not None
    assert bool(x.grad.abs().max() > 0)
    assert all(parameter.grad is None for parameter in embedder.net.parameters())
    kept = sum(parameter.numel() for parameter in embedder.net.parameters())
    whole = sum(parameter.numel() for parameter in bundle.unet.parameters())
    assert kept < 0.6 * whole


def test_an_unknown_layer_is_named(bundle: Bundle) -> None:
    with pytest.raises(ConfigError, match=r"method\.layer"):
        embedder_of(bundle)("up")
