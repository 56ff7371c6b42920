"""LoRA files others can open, and theirs opened here."""

import json
import re
from pathlib import Path

from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from peft import get_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from safetensors import SafetensorError

from diffpref.errors import ConfigError
from diffpref.io import save_tensors
from diffpref.models.bundle import Bundle
from diffpref.models.hub import PICKLES, locate, refuse_pickle
from diffpref.models.lora import ADAPTER, has_adapters
from diffpref.models.memory import freeze
from diffpref.models.parts import tensor_names
from diffpref.models.pipeline import assemble
from diffpref.models.quiet import quiet

FILE = "pytorch_lora_weights.safetensors"
LOADED = "loaded"
"""The name of an adapter that came from a file, inside the UNet."""

KEPT = ("r", "lora_alpha", "target_modules", "use_dora", "rank_pattern", "alpha_pattern")
"""What readers need of peft's config. The rest are defaults, or say things about this machine."""


_FIRST = re.compile(r"lora_A\.|[._]down\.")
"""Marks the first of a layer's two matrices in the layouts the stock loader reads."""


def save_lora(folder: Path, bundle: Bundle) -> Path:
    """Write the trained LoRA so that `pipe.load_lora_weights(folder)` reads it, alpha included.

    Raises:
        ConfigError: there is no trained LoRA.
    """
    if not has_adapters(bundle.unet):
        raise ConfigError(
            "the model has no LoRA to save",
            where="adapter.kind",
            hint="a fully fine-tuned model is saved as a whole pipeline",
        )
    state = get_peft_model_state_dict(bundle.unet, adapter_name=_only(bundle.sd_unet))
    tensors = {f"unet.{name}": value.detach().cpu().contiguous() for name, value in state.items()}
    stock = bundle.unet.peft_config[_only(bundle.sd_unet)].to_dict()
    told = {f"unet.{key}": _plain(stock[key]) for key in KEPT}
    metadata = {"format": "pt", "lora_adapter_metadata": json.dumps(told, sort_keys=True)}
    path = folder / FILE
    folder.mkdir(parents=True, exist_ok=True)
    save_tensors(path, tensors, metadata)
    return path


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
    try:
        with quiet():
            pipe.load_lora_weights(str(file.parent), adapter_name=LOADED, **stock)
        named = pipe.lora_state_dict(str(file.parent), unet_config=bundle.unet.config, **stock)[0]
    except (ValueError, RuntimeError, KeyError, SafetensorError) as error:
        raise _misfit(bundle, file, str(error).strip().splitlines()[0]) from error
    firsts = [name for name in named if name.startswith("unet.") and _FIRST.search(name)]
    fitted = sum(isinstance(module, LoraLayer) for module in bundle.unet.modules())
    if fitted == 0 or fitted != len(firsts):
        raise _misfit(bundle, file, f"{fitted} of its {len(firsts)} UNet layers are in the model")
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


def _only(unet: UNet2DConditionModel) -> str:
    return ADAPTER if ADAPTER in unet.peft_config else LOADED


def _plain(value: object) -> object:
    return sorted(value) if isinstance(value, set) else value


def _misfit(bundle: Bundle, file: Path, why: str) -> ConfigError:
    return ConfigError(
        f"{file.name} does not fit {bundle.source} ({bundle.family.name}): {why}",
        where="lora",
        hint="a LoRA only fits the model family and size it was trained on",
    )
