"""Stable Cascade beside its stock pipelines, scheduler and torchvision's backbone."""

from pathlib import Path
from typing import Any, cast

import pytest
import torch
from diffusers import (
    DDPMWuerstchenScheduler,
    StableCascadeDecoderPipeline,
    StableCascadePriorPipeline,
)
from diffusers.models.unets.unet_stable_cascade import StableCascadeUNet
from diffusers.pipelines.stable_cascade.pipeline_stable_cascade import PaellaVQModel
from torch import nn
from torchvision.models import efficientnet_v2_s

from diffpref.draws import generator
from diffpref.errors import ConfigError
from diffpref.models import Bundle, load_bundle, make_denoiser, save_pipeline
from diffpref.models.cascade.effnet import FILE, MEAN, STD, backbone_of, build_effnet
from diffpref.models.cascade.levels import ratio_of, stage_c_schedule
from diffpref.models.cascade.stage_b import FOLDER
from diffpref.models.noising import read_schedule
from diffpref.models.sample import SampleSettings, sample, starting_noise
from tests.models.tiny_cascade import effnet_state, write_cascade

PROMPTS = ["a red cube", "two blue discs"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cascade(tmp_path_factory.mktemp("cascade") / "tiny")


@pytest.fixture(scope="module")
def bundle(folder: Path) -> Bundle:
    return load_bundle(str(folder))


def stock_prior(folder: Path) -> Any:
    pipe: Any = StableCascadePriorPipeline.from_pretrained(str(folder))
    pipe.set_progress_bar_config(disable=True)
    return pipe


def test_the_schedule_is_the_stock_schedulers_on_every_step() -> None:
    schedule, stock = stage_c_schedule(), DDPMWuerstchenScheduler()
    ratios = ratio_of(schedule.abar)
    theirs = stock._alpha_cumprod(ratios.float(), torch.device("cpu"))
    assert torch.allclose(theirs.double(), schedule.abar, atol=1e-6)
    assert float(schedule.abar[0]) == pytest.approx(0.9999)
    assert float(schedule.abar[-1]) == pytest.approx(0.0001)
    assert float(ratio_of(torch.ones(1, dtype=torch.float64))) == 0
    t = torch.tensor([0, 500, 999])
    x, noise = torch.randn(2, 3, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    mine = schedule.noised(x, noise, t)
    assert torch.allclose(mine, stock.add_noise(x, noise, ratios[t].float()), atol=1e-3)


def test_the_ratio_is_the_one_the_published_training_tells() -> None:
    """r = acos(sqrt(abar cos^2(s/(1+s) pi/2))) 2/pi (1+s) - s, written again for one number."""
    from math import acos, cos, pi, sqrt

    s, power = 0.008, 0.37
    wanted = acos(sqrt(power * cos(s / (1 + s) * pi / 2) ** 2)) / (pi / 2) * (1 + s) - s
    found = ratio_of(torch.tensor([power], dtype=torch.float64))
    assert float(found) == pytest.approx(wanted, rel=1e-12)


def test_another_scaler_is_refused() -> None:
    with pytest.raises(ConfigError, match="scaler 2"):
        read_schedule({"_class_name": "DDPMWuerstchenScheduler", "scaler": 2.0}, "x")


def test_the_text_is_the_stock_pipelines(folder: Path, bundle: Bundle) -> None:
    pipe = stock_prior(folder)
    embeds, pooled, nothing, empty = pipe.encode_prompt("cpu", 2, 1, True, prompt=PROMPTS)
    mine, uncond = bundle.encode_text(PROMPTS), bundle.encode_uncond(2)
    assert mine.pooled is not None
    assert uncond.pooled is not None
    assert torch.allclose(mine.text, embeds, atol=1e-6)
    assert torch.allclose(mine.pooled, pooled[:, 0], atol=1e-6)
    assert torch.allclose(uncond.text, nothing, atol=1e-6)
    assert torch.allclose(uncond.pooled, empty[:, 0], atol=1e-6)


def test_the_denoiser_is_stage_c_at_the_ratio_of_its_step(bundle: Bundle) -> None:
    x = torch.randn(2, 4, 6, 6, generator=torch.Generator().manual_seed(1))
    cond, t = bundle.encode_text(PROMPTS), torch.tensor([3, 900])
    with torch.no_grad():
        mine = make_denoiser(bundle.unet, bundle)(x, t, cond)
        clean = make_denoiser(bundle.unet, bundle)(x, torch.tensor([-1, -1]), cond)
        assert cond.pooled is not None
        told: dict[str, Any] = {
            "clip_text_pooled": cond.pooled[:, None],
            "clip_text": cond.text,
            "clip_img": torch.zeros(2, 1, 12),
        }
        stock: Any = bundle.unet
        theirs = stock(x, ratio_of(bundle.schedule.abar[t]).float(), **told).sample
        at_zero = stock(x, torch.zeros(2), **told).sample
    assert torch.equal(mine, theirs)
    assert torch.equal(clean, at_zero)


def test_pictures_are_the_stock_pipelines_from_the_same_noise(folder: Path, bundle: Bundle) -> None:
    settings = SampleSettings(steps=3, height=128, width=256, guidance=3.0)
    mine = sample(bundle, PROMPTS, seed=4, settings=settings)
    prior, kinds = stock_prior(folder), (StableCascadeUNet, PaellaVQModel)
    decoder, vqgan = (
        kind.from_pretrained(str(folder / FOLDER / name))
        for kind, name in zip(cast(Any, kinds), ("decoder", "vqgan"), strict=True)
    )
    stage_b: Any = StableCascadeDecoderPipeline(
        decoder=decoder,
        vqgan=vqgan,
        tokenizer=prior.tokenizer,
        text_encoder=prior.text_encoder,
        scheduler=DDPMWuerstchenScheduler(),
    )
    stage_b.set_progress_bar_config(disable=True)
    places = [(4, 0), (4, 1)]
    latents = prior(
        PROMPTS,
        height=128,
        width=256,
        num_inference_steps=3,
        guidance_scale=3.0,
        latents=starting_noise([4, 4], torch.tensor([0, 1]), (4, 3, 6)),
        generator=[generator(*place, "cascade/c") for place in places],
    ).image_embeddings
    rngs = [generator(*place, "cascade/b") for place in places]
    noise = torch.cat([torch.randn(1, 4, 32, 64, generator=rng) for rng in rngs])
    theirs = stage_b(
        latents, PROMPTS, latents=noise, guidance_scale=0.0, generator=rngs, output_type="pt"
    ).images
    assert torch.allclose(mine, theirs, atol=1e-5)
    one = sample(bundle, PROMPTS[1:], seed=4, positions=[1], settings=settings)
    assert torch.allclose(one, mine[1:], atol=1e-4)


def test_the_encoder_is_torchvisions_with_the_published_projection() -> None:
    torch.manual_seed(0)
    state = effnet_state()
    net = build_effnet(state).double()
    pixels = torch.rand(2, 3, 64, 96, dtype=torch.float64)
    backbone = backbone_of(state).double().eval()
    backbone.load_state_dict(
        {k.removeprefix("backbone."): v for k, v in state.items() if k.startswith("backbone.")}
    )
    mean, std = (torch.tensor(each).double().view(3, 1, 1) for each in (MEAN, STD))
    features = backbone((pixels - mean) / std)
    projected = nn.functional.conv2d(features, state["mapper.0.weight"].double())
    wanted = projected / (state["mapper.1.running_var"].double() + 1e-5).sqrt().view(-1, 1, 1)
    assert torch.allclose(net(pixels), wanted, atol=1e-9)
    assert net(pixels).shape == (2, 4, 2, 3)


def test_the_published_sizes_give_torchvisions_own_network() -> None:
    with torch.device("meta"):
        stock = efficientnet_v2_s().features
    state = {f"backbone.{name}": value for name, value in stock.state_dict().items()}
    with torch.device("meta"):
        mine = backbone_of(state)
    assert str(mine) == str(stock)
    assert {k: v.shape for k, v in mine.state_dict().items()} == {
        k: v.shape for k, v in stock.state_dict().items()
    }


def test_latents_have_no_spread_and_no_scale(bundle: Bundle) -> None:
    pixels = torch.rand(2, 3, 64, 64)
    mean, std = bundle.encode_images(pixels)
    encode: Any = bundle.vae
    assert torch.equal(mean, encode(pixels))
    assert not std.any()
    assert bundle.latent_shape(768, 768) == (4, 24, 24)


def test_files_that_are_no_encoder_are_refused(folder: Path) -> None:
    other = folder / "prior" / "diffusion_pytorch_model.safetensors"
    with pytest.raises(ConfigError, match=FILE) as refused:
        load_bundle(str(folder), vae=str(other))
    assert "model.vae" in str(refused.value)


def test_what_only_stable_diffusion_has_is_refused_by_name(bundle: Bundle, tmp_path: Path) -> None:
    for ask in (
        lambda: save_pipeline(tmp_path / "out", bundle),
        lambda: bundle.decode(torch.zeros(1, 4, 3, 3)),
    ):
        with pytest.raises(ConfigError, match="Stable Cascade"):
            ask()
