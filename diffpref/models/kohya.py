"""A LoRA as one file in the layout of kohya's sd-scripts, which A1111 and ComfyUI read."""

from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path

import torch
from peft.tuners.lora import LoraLayer
from safetensors import safe_open
from torch import Tensor

from diffpref.errors import ConfigError
from diffpref.io import load_weights, save_tensors
from diffpref.io.tensors import tensor_chunks
from diffpref.models.bundle import Bundle
from diffpref.models.family import SDXL
from diffpref.models.kohya_names import kohya_namer
from diffpref.models.lora_layers import LayerLora, cast, lora_layers, networks

SPEC = "1.0.0"
"""Version of the ModelSpec whose fields the header has."""


def save_kohya(
    path: Path,
    bundle: Bundle,
    *,
    about: Mapping[str, str] | None = None,
    dtype: torch.dtype | None = None,
) -> Path:
    """Write every layer's `lora_down`, `lora_up` and its true `alpha`, one file for all networks.

    The header says which base it is for, its rank and alpha, and nothing of the data.

    Args:
        path: of the file.
        bundle: the model.
        about: further fields of the header: title, author, licence ...
        dtype: precision of the matrices; None keeps their own. Alphas are float32.

    Returns:
        The file.

    Raises:
        ConfigError: there is no LoRA, or one this layout cannot hold: DoRA, or a layer it has no
            name for.
    """
    tensors: dict[str, Tensor] = {}
    layers: list[LayerLora] = []
    for part, net in networks(bundle):
        if not any(isinstance(module, LoraLayer) for module in net.modules()):
            continue
        namer = kohya_namer(bundle.family, part, bundle.unet)
        for layer in lora_layers(net):
            tensors |= _entries(namer(layer.path), layer, dtype)
            layers.append(layer)
    if not layers:
        hint = "a fully fine-tuned model is saved as a whole pipeline"
        raise ConfigError("the model has no LoRA to save", where="adapter.kind", hint=hint)
    metadata = {**_header(bundle, layers), **(about or {})}
    metadata["modelspec.hash_sha256"] = f"0x{_content_hash(tensors)}"
    path.parent.mkdir(parents=True, exist_ok=True)
    save_tensors(path, tensors, metadata)
    return path


def without_alphas(file: Path) -> dict[str, Tensor] | None:
    """Return the tensors of a kohya file whose layers differ in alpha, the factors multiplied in.

    Stock diffusers forgets the alphas of attention layers when they differ: it names them by the
    layer's processor, where peft looks for the layer. None for any other file, which it reads.
    """
    with safe_open(file, framework="pt") as stored:
        names = [name for name in stored.keys() if _is_alpha(name)]  # noqa: SIM118
        alphas = {name: float(stored.get_tensor(name)) for name in names}
    if len(set(alphas.values())) < 2:
        return None
    tensors = load_weights(file)
    for name, alpha in alphas.items():
        down = f"{name.removesuffix('alpha')}lora_down.weight"
        if down in tensors:
            tensors[down] = tensors[down] * (alpha / len(tensors[down]))
            tensors.pop(name)
    return tensors


def _is_alpha(key: str) -> bool:
    return key.startswith("lora_") and key.endswith(".alpha")


def _entries(name: str, layer: LayerLora, dtype: torch.dtype | None) -> dict[str, Tensor]:
    if layer.magnitude is not None:
        raise ConfigError(
            "is a DoRA layer, and no two readers of kohya files scale `dora_scale` alike: A1111 by "
            "the columns' norms, ComfyUI by the base's rows, diffusers by the sum's, as trained",
            where=layer.path,
            hint="write it as --as diffusers or peft, or whole as --as pipeline: these are exact",
        )
    return {
        f"{name}.lora_down.weight": cast(layer.down, dtype),
        f"{name}.lora_up.weight": cast(layer.up, dtype),
        f"{name}.alpha": torch.tensor(layer.alpha, dtype=torch.float32),
    }


def _header(bundle: Bundle, layers: Sequence[LayerLora]) -> dict[str, str]:
    """Return what readers sort files by; unequal ranks or alphas are called Dynamic."""
    ranks = {each.rank for each in layers}
    alphas = {round(each.alpha, 6) for each in layers}
    return {
        "format": "pt",
        "modelspec.sai_model_spec": SPEC,
        "modelspec.implementation": "diffusers",
        "modelspec.prediction_type": "v" if bundle.prediction == "v_prediction" else "epsilon",
        "modelspec.resolution": f"{bundle.resolution}x{bundle.resolution}",
        "ss_network_module": "networks.lora",
        "ss_network_dim": f"{ranks.pop()}" if len(ranks) == 1 else "Dynamic",
        "ss_network_alpha": f"{alphas.pop():g}" if len(alphas) == 1 else "Dynamic",
        **_base(bundle),
    }


def _base(bundle: Bundle) -> dict[str, str]:
    """Return the fields that name the base; none for a base that is not a published one."""
    width = int(bundle.unet.config["cross_attention_dim"])
    known = {(True, 2048): _SDXL, (False, 768): _SD1, (False, 1024): _SD2}
    fields = known.get((bundle.family is SDXL, width), {})
    if fields is _SD2 and bundle.prediction == "v_prediction":
        return {**fields, "modelspec.architecture": "stable-diffusion-v2-768-v/lora"}
    return fields


_SD1 = {
    "ss_base_model_version": "sd_v1",
    "ss_v2": "False",
    "modelspec.architecture": "stable-diffusion-v1/lora",
}
_SD2 = {
    "ss_base_model_version": "sd_v2",
    "ss_v2": "True",
    "modelspec.architecture": "stable-diffusion-v2-512/lora",
}
_SDXL = {
    "ss_base_model_version": "sdxl_base_v1-0",
    "ss_v2": "False",
    "modelspec.architecture": "stable-diffusion-xl-v1-base/lora",
}


def _content_hash(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of all bytes behind the file's header, as the ModelSpec defines it."""
    total = sha256()
    for chunk in _behind_header(tensors):
        total.update(chunk)
    return total.hexdigest()


def _behind_header(tensors: Mapping[str, Tensor]) -> Iterator[bytes | memoryview]:
    chunks = tensor_chunks(tensors)
    next(chunks)
    return chunks
