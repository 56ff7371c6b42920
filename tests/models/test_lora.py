"""What trains, where it starts, and adapters switched off."""

from pathlib import Path

import pytest
import torch
from peft.tuners.lora import LoraLayer

from diffpref.errors import ConfigError
from diffpref.models import (
    AdapterConfig,
    Bundle,
    adapters_off,
    load_bundle,
    make_adapter,
    to_pipeline,
    trainable_parameters,
)
from diffpref.models.lora import find_targets


def shake(bundle: Bundle) -> None:
    """Move what trains away from where it starts."""
    for index, value in enumerate(trainable_parameters(bundle.unet).values()):
        rng = torch.Generator().manual_seed(index)
        value.data.add_(0.3 * torch.randn(value.shape, generator=rng))


@pytest.mark.parametrize("dora", [False, True])
def test_images_with_the_lora_off_are_the_bases_bit_for_bit(bundle: Bundle, sample, dora) -> None:
    pipe = to_pipeline(bundle)
    base = sample(pipe)
    make_adapter(bundle, AdapterConfig(rank=2, alpha=8.0, dora=dora))
    assert torch.allclose(sample(pipe), base, atol=1e-5)
    shake(bundle)
    with adapters_off(bundle.unet):
        off = sample(pipe)
    assert torch.equal(off, base)
    assert (sample(pipe) - base).abs().max() > 1e-3


def test_adapters_come_back_after_an_error_as_they_were(bundle: Bundle) -> None:
    make_adapter(bundle, AdapterConfig(rank=2))
    chosen = next(iter(trainable_parameters(bundle.unet)))
    bundle.unet.get_parameter(chosen).requires_grad_(False)
    before = set(trainable_parameters(bundle.unet))
    during: list[str] = []

    def fail() -> None:
        with adapters_off(bundle.unet):
            during.extend(trainable_parameters(bundle.unet))
            raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        fail()
    assert not during
    assert set(trainable_parameters(bundle.unet)) == before


def test_adapters_off_may_be_nested(bundle: Bundle) -> None:
    make_adapter(bundle, AdapterConfig(rank=2))
    layers = [module for module in bundle.unet.modules() if isinstance(module, LoraLayer)]
    with adapters_off(bundle.unet):
        with adapters_off(bundle.unet):
            pass
        assert all(layer.disable_adapters for layer in layers)
    assert not any(layer.disable_adapters for layer in layers)


def test_only_the_lora_trains_and_the_base_does_not(bundle: Bundle) -> None:
    make_adapter(bundle, AdapterConfig(rank=2))
    names = set(trainable_parameters(bundle.unet))
    assert names
    assert all(".lora_A." in name or ".lora_B." in name for name in names)
    for net in (bundle.vae, *bundle.text.encoders):
        assert not trainable_parameters(net)


def test_the_start_depends_on_the_seed_alone(folder: Path) -> None:
    starts = []
    for noise, seed in ((1, 0), (2, 0), (3, 1)):
        torch.manual_seed(noise)
        bundle = load_bundle(str(folder))
        before = torch.random.get_rng_state()
        make_adapter(bundle, AdapterConfig(rank=2, seed=seed))
        assert torch.equal(torch.random.get_rng_state(), before)
        starts.append(trainable_parameters(bundle.unet))
    name = next(name for name in starts[0] if "lora_A" in name)
    assert torch.equal(starts[0][name], starts[1][name])
    assert not torch.equal(starts[0][name], starts[2][name])
    firsts = [value for name, value in starts[0].items() if "attn1.to_q.lora_A" in name]
    assert not torch.equal(firsts[0], firsts[1])


def test_full_fine_tuning_trains_every_weight_of_the_unet(bundle: Bundle) -> None:
    make_adapter(bundle, AdapterConfig(kind="full"))
    assert set(trainable_parameters(bundle.unet)) == {
        name for name, _ in bundle.unet.named_parameters()
    }


@pytest.mark.parametrize("targets", ["transformer", "everything", ("to_k", "conv1")])
def test_targets_may_be_a_group_or_layer_names(bundle: Bundle, targets) -> None:
    attention = find_targets(bundle.unet, "attention")
    wanted = find_targets(bundle.unet, targets)
    make_adapter(bundle, AdapterConfig(rank=2, targets=targets))
    adapted = [p for p, module in bundle.unet.named_modules() if isinstance(module, LoraLayer)]
    assert {path for path in adapted if path.endswith("to_k")}
    assert all(any(path.endswith(f".{name}") for name in wanted) for path in adapted)
    assert any(not any(path.endswith(f".{name}") for name in attention) for path in adapted)


@pytest.mark.parametrize(
    ("config", "where", "word"),
    [
        (AdapterConfig(targets="atention"), "adapter.targets", "'attention'"),
        (AdapterConfig(targets=("to_q", "to_kk")), "adapter.targets", "'to_k'"),
        (AdapterConfig(kind="lore"), "adapter.kind", "'lora'"),
        (AdapterConfig(rank=0), "adapter.rank", "choose 4"),
    ],
)
def test_wrong_adapters_are_named_with_the_nearest_choice(
    bundle: Bundle, config: AdapterConfig, where: str, word: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        make_adapter(bundle, config)
    assert caught.value.where == where
    assert word in str(caught.value)
    assert not trainable_parameters(bundle.unet)


def test_adapters_do_not_stack(bundle: Bundle) -> None:
    make_adapter(bundle, AdapterConfig(rank=2))
    with pytest.raises(ConfigError, match="adapters already"):
        make_adapter(bundle, AdapterConfig(rank=2))
