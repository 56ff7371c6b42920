"""Images to latents and back."""

from copy import deepcopy
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, DiffusionPipeline

from diffpref.errors import ConfigError
from diffpref.models import Bundle, load_bundle
from diffpref.models.vae import check_vae


@pytest.fixture
def pixels() -> torch.Tensor:
    return torch.rand(2, 3, 32, 24, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def overflowing(tiny: dict[str, Path], tmp_path: Path) -> Path:
    """A model whose autoencoder works in float32 and overflows in float16, as SDXL's does."""
    pipe = DiffusionPipeline.from_pretrained(tiny["sdxl"])
    with torch.no_grad():
        pipe.vae.encoder.conv_in.weight.mul_(1e5)
        pipe.vae.decoder.conv_in.weight.mul_(1e6)
    pipe.save_pretrained(tmp_path)
    return tmp_path


def test_posterior_is_the_stock_one_times_the_scaling_factor(
    bundle: Bundle, pixels: torch.Tensor
) -> None:
    mean, std = bundle.encode_images(pixels)
    posterior = bundle.vae.encode(2 * pixels - 1).latent_dist
    factor = bundle.vae.config["scaling_factor"]
    assert torch.equal(mean, posterior.mean * factor)
    assert torch.equal(std, posterior.std * factor)
    assert mean.shape == (2, *bundle.latent_shape(32, 24)) == (2, 4, 8, 6)


def test_decoding_is_the_stock_pipelines(bundle: Bundle, folder: Path) -> None:
    latents = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    pipe = DiffusionPipeline.from_pretrained(folder)
    pipe.vae.requires_grad_(False)
    raw = pipe.vae.decode(latents / pipe.vae.config.scaling_factor).sample
    stock = pipe.image_processor.postprocess(raw.detach(), output_type="pt")
    assert torch.equal(bundle.decode(latents), stock)


def test_decoding_is_differentiable(bundle: Bundle) -> None:
    latents = torch.zeros(1, 4, 8, 8, requires_grad=True)
    bundle.decode(latents).mean().backward()
    assert latents.grad is not None
    assert latents.grad.abs().sum() > 0


def test_float16_never_gives_nan(overflowing: Path, pixels: torch.Tensor) -> None:
    bundle = load_bundle(str(overflowing), dtype="fp16")
    half = deepcopy(bundle.vae).half()
    assert not torch.isfinite(half.encode((2 * pixels - 1).half()).latent_dist.mean).all()
    with torch.autocast("cpu", torch.float16):
        mean, std = bundle.encode_images(pixels)
        images = bundle.decode(torch.randn(1, 4, 8, 8).half())
    for tensor in (mean, std, images):
        assert tensor.dtype == torch.float32
        assert torch.isfinite(tensor).all()


def test_another_autoencoder_can_be_chosen(tiny: dict[str, Path], tmp_path: Path) -> None:
    vae = AutoencoderKL.from_pretrained(tiny["sdxl"], subfolder="vae")
    with torch.no_grad():
        vae.decoder.conv_out.bias.add_(1.0)
    vae.save_pretrained(tmp_path / "fixed")
    base = load_bundle(str(tiny["sdxl"]))
    for source in (tmp_path / "fixed", tmp_path / "fixed/diffusion_pytorch_model.safetensors"):
        bundle = load_bundle(str(tiny["sdxl"]), vae=str(source))
        assert torch.equal(bundle.vae.decoder.conv_out.bias, vae.decoder.conv_out.bias)
        assert bundle.fingerprints["vae"] != base.fingerprints["vae"]
        assert bundle.fingerprints["unet"] == base.fingerprints["unet"]


def test_a_folder_without_an_autoencoder_is_refused(tiny: dict[str, Path]) -> None:
    with pytest.raises(ConfigError, match="UNet2DConditionModel") as caught:
        load_bundle(str(tiny["sd15"]), vae=str(tiny["sd15"] / "unet"))
    assert caught.value.where == "model.vae"


def test_sides_that_latents_cannot_tile_are_refused(bundle: Bundle) -> None:
    with pytest.raises(ValueError, match="multiples of 4"):
        bundle.encode_images(torch.zeros(1, 3, 30, 32))


def test_weights_that_give_nan_are_an_error_and_not_a_latent(
    bundle: Bundle, pixels: torch.Tensor
) -> None:
    with torch.no_grad():
        bundle.vae.encoder.conv_in.bias.fill_(float("nan"))
    with pytest.raises(ConfigError, match="not finite"):
        bundle.encode_images(pixels)


def test_autoencoders_that_normalise_latents_otherwise_are_refused() -> None:
    vae = AutoencoderKL(shift_factor=0.1)
    with pytest.raises(ConfigError, match="shift_factor"):
        check_vae(vae, "base")
