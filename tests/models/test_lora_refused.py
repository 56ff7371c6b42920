"""LoRA files that are not loaded, and what is said instead."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from diffpref.errors import ConfigError, UnsafeFileError
from diffpref.models import AdapterConfig, Bundle, load_lora, make_adapter, save_lora
from diffpref.models.lora_files import FILE


def test_a_lora_of_another_family_is_refused(tmp_path: Path, fresh) -> None:
    bundle = fresh("sdxl")
    make_adapter(bundle, AdapterConfig(rank=2))
    save_lora(tmp_path, bundle)
    with pytest.raises(ConfigError, match="does not fit") as caught:
        load_lora(fresh("sd15"), str(tmp_path))
    assert caught.value.where == "lora"


def test_a_lora_with_layers_the_model_lacks_is_refused(tmp_path: Path, fresh) -> None:
    bundle = fresh("sd15")
    make_adapter(bundle, AdapterConfig(rank=2))
    save_lora(tmp_path, bundle)
    tensors = load_file(tmp_path / FILE)
    for side, shape in (("A", (2, 16)), ("B", (16, 2))):
        name = f"unet.down_blocks.9.attentions.0.transformer_blocks.0.attn1.to_q.lora_{side}.weight"
        tensors[name] = torch.zeros(shape)
    save_file(tensors, tmp_path / "more.safetensors")
    with pytest.raises(ConfigError, match="does not fit"):
        load_lora(fresh("sd15"), str(tmp_path / "more.safetensors"))


def test_pickled_and_missing_loras_are_refused(tmp_path: Path, fresh) -> None:
    bundle = fresh("sd15")
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "pytorch_lora_weights.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(UnsafeFileError):
        load_lora(bundle, str(tmp_path / "old"))
    with pytest.raises(UnsafeFileError):
        load_lora(bundle, str(tmp_path / "old" / "pytorch_lora_weights.bin"))
    (tmp_path / "fake.safetensors").write_bytes(b"\x80\x04cos\nsystem\n.")
    with pytest.raises(UnsafeFileError, match="not safetensors"):
        load_lora(bundle, str(tmp_path / "fake.safetensors"))
    (tmp_path / "none").mkdir()
    with pytest.raises(ConfigError, match=FILE):
        load_lora(bundle, str(tmp_path / "none"))


def test_there_is_no_lora_to_save_without_one(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no LoRA"):
        save_lora(tmp_path, bundle)
    assert not list(tmp_path.iterdir())
