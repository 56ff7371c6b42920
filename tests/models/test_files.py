"""What we write, stock diffusers opens: images equal bit for bit."""

import json
from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline
from peft import get_peft_model_state_dict
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from diffpref.errors import ConfigError
from diffpref.models import (
    AdapterConfig,
    Bundle,
    adapters_off,
    load_bundle,
    load_lora,
    make_adapter,
    save_lora,
    save_pipeline,
    to_pipeline,
    trainable_parameters,
)
from diffpref.models.lora_files import FILE


def train(bundle: Bundle, config: AdapterConfig) -> None:
    make_adapter(bundle, config)
    for index, value in enumerate(trainable_parameters(bundle.unet).values()):
        rng = torch.Generator().manual_seed(index)
        value.data.add_(0.3 * torch.randn(value.shape, generator=rng))


ADAPTERS = {
    "alpha is not rank": AdapterConfig(rank=2, alpha=8.0),
    "dora": AdapterConfig(rank=2, dora=True),
    "convolutions": AdapterConfig(rank=2, alpha=1.0, targets="everything"),
}


@pytest.mark.parametrize("name", ADAPTERS)
def test_stock_load_lora_weights_gives_our_images_bit_for_bit(
    folder: Path, tmp_path: Path, sample, name: str, fresh
) -> None:
    bundle = fresh(folder.name)
    train(bundle, ADAPTERS[name])
    ours = sample(to_pipeline(bundle))
    assert save_lora(tmp_path / "run", bundle).name == FILE
    stock = DiffusionPipeline.from_pretrained(folder)
    base = sample(stock)
    stock.load_lora_weights(tmp_path / "run")
    assert torch.equal(sample(stock), ours)
    assert (ours - base).abs().max() > 1e-3


def test_a_trained_lora_loads_back_frozen_with_a_scale(
    folder: Path, tmp_path: Path, sample, fresh
) -> None:
    trained = fresh(folder.name)
    base = sample(to_pipeline(trained))
    train(trained, AdapterConfig(rank=2, alpha=8.0))
    save_lora(tmp_path, trained)
    images = {}
    for scale in (0.0, 0.5, 1.0):
        bundle = fresh(folder.name)
        load_lora(bundle, str(tmp_path), scale=scale)
        images[scale] = sample(to_pipeline(bundle))
        assert not trainable_parameters(bundle.unet)
    assert torch.equal(images[1.0], sample(to_pipeline(trained)))
    assert torch.equal(images[0.0], base)
    assert not torch.equal(images[0.5], images[1.0])
    with adapters_off(bundle.unet):
        assert torch.equal(sample(to_pipeline(bundle)), base)


def test_kohya_files_load_with_their_alpha(tmp_path: Path, sample, fresh) -> None:
    trained = fresh("sd15")
    train(trained, AdapterConfig(rank=2, alpha=8.0))
    kohya = {}
    for key, value in get_peft_model_state_dict(trained.unet).items():
        path, side, _ = key.rsplit(".", 2)
        name = "lora_unet_" + path.replace(".", "_")
        half = {"lora_A": "lora_down", "lora_B": "lora_up"}[side]
        kohya[f"{name}.{half}.weight"] = value.contiguous()
        kohya[f"{name}.alpha"] = torch.tensor(8.0)
    save_file(kohya, tmp_path / "kohya.safetensors")
    bundle = fresh("sd15")
    load_lora(bundle, str(tmp_path / "kohya.safetensors"))
    torch.testing.assert_close(
        sample(to_pipeline(bundle)), sample(to_pipeline(trained)), rtol=0, atol=1e-6
    )


def test_the_files_metadata_says_nothing_about_this_machine(tmp_path: Path, fresh) -> None:
    bundle = fresh("sd15")
    train(bundle, AdapterConfig(rank=2, alpha=8.0))
    with safe_open(save_lora(tmp_path, bundle), framework="pt") as file:
        told = json.loads(file.metadata()["lora_adapter_metadata"])
    assert told["unet.lora_alpha"] == 8
    assert told["unet.r"] == 2
    assert {key.removeprefix("unet.") for key in told} == {
        "r",
        "lora_alpha",
        "target_modules",
        "use_dora",
        "rank_pattern",
        "alpha_pattern",
    }


@pytest.mark.parametrize("kind", ["full", "lora"])
def test_stock_from_pretrained_gives_our_images(
    folder: Path, tmp_path: Path, sample, kind: str, fresh
) -> None:
    bundle = fresh(folder.name)
    train(bundle, AdapterConfig(kind=kind, rank=2, alpha=8.0))
    ours = sample(to_pipeline(bundle))
    save_pipeline(tmp_path / "out", bundle)
    stock = sample(DiffusionPipeline.from_pretrained(tmp_path / "out"))
    # A LoRA is folded into the weights, which rounds otherwise; whole weights come back exactly.
    assert torch.equal(stock, ours) if kind == "full" else torch.allclose(stock, ours, atol=1e-4)
    again = load_bundle(str(tmp_path / "out"))
    assert again.family is bundle.family
    assert torch.equal(sample(to_pipeline(again)), stock)
    if kind == "lora":
        assert torch.equal(sample(to_pipeline(bundle)), ours)


def test_a_half_precision_pipeline_equals_the_stock_one(folder: Path, sample) -> None:
    bundle = load_bundle(str(folder), dtype="bf16")
    stock = DiffusionPipeline.from_pretrained(folder, dtype=torch.bfloat16)
    assert torch.equal(sample(to_pipeline(bundle)), sample(stock))
    assert bundle.vae.dtype == torch.float32


def test_a_saved_pipeline_names_no_path_of_this_machine(
    folder: Path, tmp_path: Path, fresh
) -> None:
    bundle = fresh(folder.name)
    save_pipeline(tmp_path / "out", bundle, dtype=torch.float16)
    written = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert len(written) > 8
    for path in written:
        assert str(folder.parent).encode() not in path.read_bytes(), path
    weights = load_file(tmp_path / "out/unet/diffusion_pytorch_model.safetensors")
    assert {value.dtype for value in weights.values()} == {torch.float16}
    assert bundle.unet.dtype == torch.float32


def test_an_older_pipeline_is_replaced_and_anything_else_is_not(tmp_path: Path, fresh) -> None:
    bundle = fresh("sd15")
    save_pipeline(tmp_path / "out", bundle)
    save_pipeline(tmp_path / "out", bundle)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "diary.txt").write_text("mine")
    with pytest.raises(ConfigError, match="something else"):
        save_pipeline(tmp_path / "notes", bundle)
    assert (tmp_path / "notes" / "diary.txt").read_text() == "mine"
