"""Attention, copies and hashes."""

import importlib.util
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from diffpref.errors import ConfigError
from diffpref.models import (
    AdapterConfig,
    Bundle,
    fingerprint,
    frozen_copy,
    load_bundle,
    make_adapter,
    set_attention,
    trainable_parameters,
)
from diffpref.types import Conditioning


def point(bundle: Bundle) -> tuple[torch.Tensor, torch.Tensor, Conditioning]:
    rng = torch.Generator().manual_seed(0)
    x_t = torch.randn(2, 4, 8, 8, generator=rng, dtype=torch.float64)
    cond = bundle.encode_text(["a red cube", ""])
    square = torch.full((2, 2), 32)
    ids = bundle.family.time_ids(square, torch.zeros_like(square), square)
    return x_t, torch.tensor([10, 700]), replace(cond, time_ids=ids)


def test_missing_xformers_is_named_with_what_to_do(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match="xformers is not installed") as caught:
        set_attention(bundle.unet, "xformers")
    assert caught.value.where == "model.attention"
    assert "sdpa" in str(caught.value)
    assert "diffpref[xformers]" in str(caught.value)


def test_xformers_without_a_gpu_is_refused(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: SimpleNamespace())
    with pytest.raises(ConfigError, match="NVIDIA"):
        set_attention(bundle.unet, "xformers")


def test_unknown_attention_is_refused_with_the_nearest(bundle: Bundle) -> None:
    with pytest.raises(ConfigError, match="did you mean 'sdpa'"):
        set_attention(bundle.unet, "sdp")


def test_a_frozen_copy_shares_nothing_and_does_not_train(bundle: Bundle) -> None:
    make_adapter(bundle, AdapterConfig(kind="full"))
    copy = frozen_copy(bundle.unet)
    before = copy.conv_in.weight.clone()
    bundle.unet.conv_in.weight.data.add_(1.0)
    assert torch.equal(copy.conv_in.weight, before)
    assert not trainable_parameters(copy)
    assert trainable_parameters(bundle.unet)


def test_fingerprints_change_with_one_bit_and_not_with_loading_again(folder: Path) -> None:
    one, two = load_bundle(str(folder)), load_bundle(str(folder))
    assert one.fingerprint == two.fingerprint
    assert len({*one.fingerprints.values()}) == 3
    before = fingerprint([two.unet])
    two.unet.conv_in.bias.data.view(torch.int32)[0] ^= 1
    assert fingerprint([two.unet]) != before
    assert load_bundle(str(folder), dtype="bf16").fingerprint != one.fingerprint


def test_fingerprints_depend_on_what_is_predicted(tiny: dict[str, Path]) -> None:
    one, two = load_bundle(str(tiny["sd15"])), load_bundle(str(tiny["v"]))
    assert one.fingerprints == two.fingerprints
    assert one.fingerprint != two.fingerprint
