"""The tiny decoder of rewards: diffusers' own pictures, a gradient, and plain refusals."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from diffusers import AutoencoderTiny
from diffusers.image_processor import VaeImageProcessor

from diffpref.errors import ConfigError, HubError, UnsafeFileError
from diffpref.models.tiny_vae import load_tiny_decoder
from tests.models.tiny_decoder import write_tiny_decoder

CPU = torch.device("cpu")
WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tiny_decoder(tmp_path / "taesd", scaling_factor=0.5)


def test_it_decodes_as_a_stock_pipeline_with_this_autoencoder(folder: Path) -> None:
    latents = torch.randn(2, 4, 8, 6, generator=torch.Generator().manual_seed(0))
    stock: Any = AutoencoderTiny.from_pretrained(folder)
    with torch.no_grad():
        raw = stock.decode(latents / stock.config.scaling_factor).sample
    expected: Any = VaeImageProcessor().postprocess(raw, output_type="pt")
    found = load_tiny_decoder(str(folder), device=CPU)(latents)
    assert torch.equal(found, expected)
    assert float(found.std()) > 0.05


def test_it_is_frozen_and_passes_a_gradient_in_float32(folder: Path) -> None:
    latents = torch.zeros(1, 4, 8, 8, dtype=torch.bfloat16, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        pictures = load_tiny_decoder(str(folder), device=CPU)(latents)
    assert pictures.dtype == torch.float32
    pictures.mean().backward()
    assert latents.grad is not None
    assert latents.grad.abs().sum() > 0


@pytest.mark.parametrize("source", ["./taesd", "taesd", "models/of/taesd"])
def test_a_folder_that_is_not_there_is_named_and_the_hub_not_asked(
    monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    for name in ("snapshot_download", "hf_hub_download"):
        monkeypatch.setattr(huggingface_hub, name, pytest.fail)
    with pytest.raises(ConfigError, match=f"no file or folder {source}") as caught:
        load_tiny_decoder(source, device=CPU)
    assert caught.value.where == "reward.decoder"
    assert caught.value.hint


@pytest.mark.filterwarnings("error")
def test_a_hub_id_that_is_not_here_is_told_offline_without_a_raw_warning() -> None:
    with pytest.raises(HubError, match="hf download acme/taesd") as caught:
        load_tiny_decoder("acme/taesd", device=CPU)
    assert caught.value.where == "reward.decoder"


def test_loading_is_silent(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    load_tiny_decoder(str(folder), device=CPU)
    assert capfd.readouterr() == ("", "")


def _full(folder: Path) -> None:
    shutil.rmtree(folder)
    shutil.copytree(Path("assets/base/vae"), folder)


def _bare(folder: Path) -> None:
    (folder / "config.json").unlink()


def _truncated(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:500])


def _lacking(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / WEIGHTS)
    tensors.pop("decoder.layers.0.bias")
    save_file(tensors, folder / WEIGHTS, {"format": "pt"})


def _wide(folder: Path) -> None:
    write_tiny_decoder(folder, latent_channels=16)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (_full, "it holds AutoencoderKL"),
        (_bare, "not a tiny autoencoder"),
        (_truncated, "cannot be loaded"),
        (_lacking, r"1 tensors are missing: decoder\.layers\.0\.bias"),
        (_wide, "16 latent channels, not 4"),
    ],
)
def test_what_is_not_a_whole_tiny_autoencoder_is_refused(
    folder: Path, spoil: Callable[[Path], None], told: str
) -> None:
    spoil(folder)
    with pytest.raises(ConfigError, match=told) as caught:
        load_tiny_decoder(str(folder), device=CPU)
    assert caught.value.where == "reward.decoder"
    assert caught.value.hint


def test_a_file_and_pickled_weights_are_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match="is a file, not a folder"):
        load_tiny_decoder(str(folder / WEIGHTS), device=CPU)
    (folder / WEIGHTS).rename(folder / "diffusion_pytorch_model.bin")
    with pytest.raises(UnsafeFileError, match="pickle"):
        load_tiny_decoder(str(folder), device=CPU)
