"""LoRA files others can open, and theirs opened here."""

import json
import re
from collections.abc import Iterable
from pathlib import Path

import torch
from peft.tuners.lora import LoraLayer
from safetensors import SafetensorError
from torch import Tensor

from diffpref.errors import ConfigError
from diffpref.io import save_tensors
from diffpref.models.bundle import Bundle
from diffpref.models.components import tensor_names
from diffpref.models.hub import PICKLES, locate, refuse_pickle
from diffpref.models.kohya import without_alphas
from diffpref.models.kohya_names import in_text_model
from diffpref.models.lora import has_adapters
from diffpref.models.lora_layers import LayerLora, cast, lora_layers, lora_settings, networks
from diffpref.models.memory import freeze
from diffpref.models.pipeline import assemble
from diffpref.models.quiet import quiet

FILE = "pytorch_lora_weights.safetensors"
LOADED = "loaded"
"""The name of an adapter that came from a file, inside the UNet."""

_FIRST = re.compile(r"lora_A\.|[._]down\.")
"""Marks the first of a layer's two matrices in the layouts the stock loader reads."""


def save_lora(folder: Path, bundle: Bundle, *, dtype: torch.dtype | None = None) -> Path:
    """Write the LoRA so that `pipe.load_lora_weights(folder)` reads it, alpha included.

    Args:
        folder: where to; made when missing.
        bundle: the model; a text encoder's LoRA is written too.
        dtype: precision of the matrices; None keeps their own.

    Returns:
        The file.

    Raises:
        ConfigError: there is no LoRA, or one with biases.
    """
    tensors: dict[str, Tensor] = {}
    told: dict[str, object] = {}
    for part, net in networks(bundle):
        if has_adapters(net):
            layers = lora_layers(net)
            settings = lora_settings(net, layers)
            told |= {f"{part}.{key}": value for key, value in settings.items()}
            for layer in layers:
                tensors |= _named(part, layer, dtype)
    if not tensors:
        raise ConfigError(
            "the model has no LoRA to save",
            where="adapter.kind",
            hint="a fully fine-tuned model is saved as a whole pipeline",
        )
    metadata = {"format": "pt", "lora_adapter_metadata": json.dumps(told, sort_keys=True)}
    path = folder / FILE
    folder.mkdir(parents=True, exist_ok=True)
    save_tensors(path, tensors, metadata)
    return path


def _named(part: str, layer: LayerLora, dtype: torch.dtype | None) -> dict[str, Tensor]:
    path = layer.path if part == "unet" else in_text_model(layer.path)
    named = {"lora_A.weight": layer.down, "lora_B.weight": layer.up}
    if layer.magnitude is not None:
        named["lora_magnitude_vector"] = layer.magnitude
    return {f"{part}.{path}.{name}": cast(value, dtype) for name, value in named.items()}


def load_lora(bundle: Bundle, source: str, *, scale: float = 1.0) -> None:
    """Put a LoRA on the bundle, frozen: a folder, a .safetensors file or a hub id.

    Reads the diffusers and the kohya layout, the text encoders' layers included.

    Raises:
        ConfigError: nothing there, it does not fit the model, or the model has adapters already.
        UnsafeFileError: a pickle.
        HubError: not on this machine and out of reach.
    """
    if has_adapters(bundle.unet):
        what, hint = "the model has adapters already", "load the base again"
        raise ConfigError(what, where="lora", hint=hint)
    file = find_lora(locate(source, where="lora").path)
    tensor_names(file, "lora")
    pipe = assemble(bundle, bundle.sd_vae)
    stock = {"weight_name": file.name, "use_safetensors": True, "local_files_only": True}
    told = without_alphas(file) or str(file.parent)
    try:
        with quiet():
            pipe.load_lora_weights(told, adapter_name=LOADED, **stock)
        named = pipe.lora_state_dict(str(file.parent), unet_config=bundle.unet.config, **stock)[0]
    except (ValueError, RuntimeError, KeyError, SafetensorError) as error:
        raise _misfit(bundle, file, str(error).strip().splitlines()[0]) from error
    _check_fitted(bundle, file, named)
    pipe.set_adapters([LOADED], [scale])
    for net in (bundle.unet, *bundle.text.encoders):
        freeze(net)


def find_lora(path: Path) -> Path:
    """Return the safetensors file of a LoRA folder, or the file itself.

    Raises:
        ConfigError: no such file, or several.
        UnsafeFileError: only a pickle.
    """
    if path.is_file() or (path / FILE).is_file():
        return path if path.is_file() else path / FILE
    files = sorted(path.glob("*.safetensors"))
    if len(files) == 1:
        return files[0]
    for entry in sorted(path.glob("*")):
        if entry.suffix in PICKLES:
            refuse_pickle(entry, "lora")
    names = ", ".join(file.name for file in files) or "none"
    raise ConfigError(
        f"{path.name} should hold {FILE}; its safetensors files: {names}",
        where="lora",
        hint="give the LoRA's own file, or the folder a run wrote it to",
    )


def _check_fitted(bundle: Bundle, file: Path, named: Iterable[str]) -> None:
    """Refuse a file whose layers stock code did not all find a place for; it only remarks on it."""
    names = list(named)
    for nets, begin, kind in (
        ((bundle.unet,), "unet.", "UNet"),
        (bundle.text.encoders, "text_encoder", "text encoder"),
    ):
        wanted = sum(name.startswith(begin) and bool(_FIRST.search(name)) for name in names)
        fitted = sum(isinstance(module, LoraLayer) for net in nets for module in net.modules())
        if fitted != wanted or (fitted == 0 and kind == "UNet"):
            why = f"{fitted} of its {wanted} {kind} layers are in the model"
            raise _misfit(bundle, file, why)


def _misfit(bundle: Bundle, file: Path, why: str) -> ConfigError:
    return ConfigError(
        f"{file.name} does not fit {bundle.source} ({bundle.family.name}): {why}",
        where="lora",
        hint="a LoRA only fits the model family and size it was trained on",
    )
