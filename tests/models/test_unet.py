"""The stock UNet as a Denoiser."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from diffusers import DDIMScheduler, DiffusionPipeline
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from diffpref.models import (
    AdapterConfig,
    Bundle,
    adapters_off,
    frozen_copy,
    load_bundle,
    make_adapter,
    make_denoiser,
    trainable_parameters,
)
from diffpref.types import Conditioning, Denoiser


def inputs(
    bundle: Bundle, n: int = 3, dtype: torch.dtype = torch.float32
) -> tuple[torch.Tensor, torch.Tensor, Conditioning]:
    rng = torch.Generator().manual_seed(3)
    x_t = torch.randn(n, *bundle.latent_shape(32, 32), generator=rng, dtype=dtype)
    cond = bundle.encode_text([f"a red cube {row}" for row in range(n)])
    sizes = torch.tensor([[48, 40]] * n), torch.tensor([[0, 2]] * n), torch.tensor([[32, 32]] * n)
    cond = replace(cond, time_ids=bundle.family.time_ids(*sizes))
    return x_t, torch.arange(n) * 400, cond


def test_epsilon_is_the_stock_unets_output(bundle: Bundle) -> None:
    x_t, t, cond = inputs(bundle)
    denoiser = make_denoiser(bundle.unet, bundle)
    stock = bundle.unet(
        x_t, t, cond.text, added_cond_kwargs={"text_embeds": cond.pooled, "time_ids": cond.time_ids}
    ).sample
    assert isinstance(denoiser, Denoiser)
    assert torch.equal(denoiser(x_t, t, cond), stock)


def test_time_ids_are_laid_out_as_the_stock_pipeline_does(tiny: dict[str, Path], fresh) -> None:
    bundle = fresh("sdxl")
    pipe = DiffusionPipeline.from_pretrained(tiny["sdxl"])
    stock = pipe._get_add_time_ids((48, 40), (0, 2), (32, 32), torch.float32, 24)
    _, _, cond = inputs(bundle, n=1)
    assert cond.time_ids is not None
    assert torch.equal(cond.time_ids, stock)


def test_sdxl_without_sizes_is_refused(fresh) -> None:
    bundle = fresh("sdxl")
    x_t, t, cond = inputs(bundle)
    with pytest.raises(ValueError, match=r"Conditioning\.time_ids"):
        make_denoiser(bundle.unet, bundle)(x_t, t, replace(cond, time_ids=None))


def test_epsilon_of_a_v_network_is_the_schedulers_formula(tiny: dict[str, Path]) -> None:
    bundle = load_bundle(str(tiny["v"]), dtype="fp64")
    x_t, t, cond = inputs(bundle, dtype=torch.float64)
    v = bundle.unet(x_t, t, cond.text.double()).sample
    abar = bundle.schedule.abar[t].view(-1, 1, 1, 1)
    assert bundle.prediction == "v_prediction"
    torch.testing.assert_close(
        make_denoiser(bundle.unet, bundle)(x_t, t, cond),
        abar.sqrt() * v + (1 - abar).sqrt() * x_t,
        rtol=1e-12,
        atol=1e-12,
    )


def test_a_network_that_predicts_the_stock_velocity_gives_back_the_noise(fresh) -> None:
    bundle = fresh("v")
    x_t, t, cond = inputs(bundle)
    noise = torch.randn(x_t.shape, generator=torch.Generator().manual_seed(5))
    scheduler = bundle.scheduler
    assert isinstance(scheduler, DDIMScheduler)
    x_0 = torch.randn(x_t.shape, generator=torch.Generator().manual_seed(6))

    class Velocity(nn.Linear):
        def forward(self, *_: object, **__: object) -> tuple[torch.Tensor]:
            return (scheduler.get_velocity(x_0, noise, t),)

    denoiser = make_denoiser(Velocity(1, 1), bundle)
    eps = denoiser(scheduler.add_noise(x_0, noise, t), t, cond)
    torch.testing.assert_close(eps, noise, rtol=1e-4, atol=1e-4)


def test_the_clean_level_is_told_as_the_first_step(bundle: Bundle) -> None:
    x_t, _, cond = inputs(bundle)
    denoiser = make_denoiser(bundle.unet, bundle)
    clean, first = torch.full((3,), -1), torch.zeros(3, dtype=torch.long)
    assert torch.equal(denoiser(x_t, clean, cond), denoiser(x_t, first, cond))


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
@pytest.mark.parametrize("kind", ["lora", "full"])
def test_half_precision_trains_float32_parameters(folder: Path, dtype: str, kind: str) -> None:
    bundle = load_bundle(str(folder), dtype=dtype)
    make_adapter(bundle, AdapterConfig(kind=kind, rank=2))
    x_t, t, cond = inputs(bundle)
    eps = make_denoiser(bundle.unet, bundle)(x_t, t, cond)
    assert eps.dtype == bundle.dtype
    eps.float().square().mean().backward()
    trained = trainable_parameters(bundle.unet)
    assert {value.dtype for value in trained.values()} == {torch.float32}
    for name, value in trained.items():
        assert value.grad is not None, name
        assert value.grad.dtype == torch.float32
        assert torch.isfinite(value.grad).all(), name
    base = bundle.unet.conv_in.weight.dtype
    assert base == (torch.float32 if kind == "full" else bundle.dtype)


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_frozen_copy_equals_adapters_off_equals_policy_at_the_start(
    folder: Path, dtype: str
) -> None:
    bundle = load_bundle(str(folder), dtype=dtype)
    copy = frozen_copy(bundle.unet)
    make_adapter(bundle, AdapterConfig(rank=2))
    x_t, t, cond = inputs(bundle)
    policy = make_denoiser(bundle.unet, bundle)
    at_start = policy(x_t, t, cond)
    with adapters_off(bundle.unet):
        off = policy(x_t, t, cond)
    assert torch.equal(make_denoiser(copy, bundle)(x_t, t, cond), off)
    assert torch.equal(at_start, off)
    assert at_start.requires_grad


def test_a_half_precision_base_alone_computes_as_the_stock_network(folder: Path) -> None:
    bundle = load_bundle(str(folder), dtype="bf16")
    x_t, t, cond = inputs(bundle)
    told = cond.map(lambda tensor: tensor.bfloat16())
    added = {"text_embeds": told.pooled, "time_ids": told.time_ids}
    stock = bundle.unet(x_t.bfloat16(), t, told.text, added_cond_kwargs=added).sample
    assert torch.equal(make_denoiser(bundle.unet, bundle)(x_t, t, cond), stock)


@pytest.fixture
def process_group(tmp_path: Path) -> Iterator[None]:
    meeting = f"file://{tmp_path}/rendezvous"
    dist.init_process_group("gloo", init_method=meeting, rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures("process_group")
def test_ddp_wraps_the_policy_and_the_reference_goes_around_it(bundle: Bundle) -> None:
    make_adapter(bundle, AdapterConfig(rank=2))
    for value in trainable_parameters(bundle.unet).values():
        value.data.normal_(generator=torch.Generator().manual_seed(1))
    wrapper = DistributedDataParallel(bundle.unet)
    x_t, t, cond = inputs(bundle)
    policy = make_denoiser(wrapper, bundle)
    reference = make_denoiser(bundle.unet, bundle)
    with torch.no_grad(), adapters_off(bundle.unet):
        before = reference(x_t, t, cond)
    eps = policy(x_t, t, cond)
    with torch.no_grad(), adapters_off(bundle.unet):
        between = reference(x_t, t, cond)
    eps.square().mean().backward()
    assert torch.equal(before, between)
    assert not torch.equal(eps, before)
    assert all(value.grad is not None for value in trainable_parameters(bundle.unet).values())
    assert policy.net is wrapper
    assert reference.net is bundle.unet
