"""A LoRA as peft writes it: one folder per network, which `PeftModel.from_pretrained` opens."""

from pathlib import Path

import torch
from peft.tuners.lora import LoraLayer

from diffpref.errors import ConfigError
from diffpref.io import save_tensors, write_json
from diffpref.models.bundle import Bundle
from diffpref.models.lora_layers import LayerLora, cast, lora_layers, lora_settings, networks

SETTINGS, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model"
"""peft's name for the network inside its wrapper."""


def save_peft(folder: Path, bundle: Bundle, *, dtype: torch.dtype | None = None) -> Path:
    """Write `unet/` and, where a text encoder has a LoRA, its own folder; DoRA included.

    Args:
        folder: where to; made when missing.
        bundle: the model.
        dtype: precision of the matrices; None keeps their own.

    Returns:
        The folder.

    Raises:
        ConfigError: there is no LoRA, or one with biases.
    """
    written = [
        _save(folder / part, net, dtype)
        for part, net in networks(bundle)
        if any(isinstance(module, LoraLayer) for module in net.modules())
    ]
    if not written:
        hint = "a fully fine-tuned model is saved as a whole pipeline"
        raise ConfigError("the model has no LoRA to save", where="adapter.kind", hint=hint)
    return folder


def _save(folder: Path, net: torch.nn.Module, dtype: torch.dtype | None) -> Path:
    layers = lora_layers(net)
    tensors = {
        f"{PREFIX}.{name}": value for each in layers for name, value in _named(each, dtype).items()
    }
    folder.mkdir(parents=True, exist_ok=True)
    save_tensors(folder / WEIGHTS, tensors, {"format": "pt"})
    # base_model_name_or_path stays out: a local base's would be a path of this machine
    told = {"peft_type": "LORA", "inference_mode": True, **lora_settings(net, layers)}
    write_json(folder / SETTINGS, told)
    return folder


def _named(layer: LayerLora, dtype: torch.dtype | None) -> dict[str, torch.Tensor]:
    named = {"lora_A.weight": layer.down, "lora_B.weight": layer.up}
    if layer.magnitude is not None:
        named["lora_magnitude_vector"] = layer.magnitude
    return {f"{layer.path}.{name}": cast(value, dtype) for name, value in named.items()}
