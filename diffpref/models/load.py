"""Loads a base model; the only place that decides its device and precision."""

from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import nn

from diffpref.errors import ConfigError, nearest
from diffpref.io import BadText, read_json
from diffpref.models.bundle import Bundle
from diffpref.models.cascade.effnet import FILE as EFFNET
from diffpref.models.cascade.effnet import EffNetEncoder, load_effnet
from diffpref.models.components import load_vae
from diffpref.models.family import Family
from diffpref.models.hub import locate
from diffpref.models.memory import fingerprint, freeze, set_attention
from diffpref.models.noising import read_schedule
from diffpref.models.parts import Parts, load_folder
from diffpref.models.single_file import load_single_file
from diffpref.models.vae import check_vae

DTYPES = MappingProxyType(
    {
        "fp32": torch.float32,
        "bf16": torch.bfloat16,
        "fp16": torch.float16,
        "fp64": torch.float64,
    }
)
"""Names a config may use; fp64 is for tests of exactness."""


HABITS = "diffpref.json"
"""A folder may say here what suits its model beyond the stock layout: {"guidance": number}."""


def load_bundle(
    base: str,
    *,
    vae: str | None = None,
    dtype: str = "fp32",
    device: str = "cpu",
    attention: str = "sdpa",
    revision: str | None = None,
    config: str | None = None,
) -> Bundle:
    """Load a frozen base model of a known family.

    Args:
        base: `builtin:base`, a folder in the diffusers layout, a .safetensors checkpoint in the
            original layout, or a hub id (HF_HUB_OFFLINE is respected).
        vae: another autoencoder: folder, hub id or .safetensors file.
        dtype: precision of the UNet and the text encoders: fp32, bf16, fp16.
        device: where the networks live, such as cpu or cuda:0.
        attention: sdpa or xformers.
        revision: branch, tag or commit of a hub id; resolved to a commit and recorded.
        config: folder or hub id with the configs of a single-file `base`.

    Precision:
        the autoencoder is float32 whatever `dtype` says: float16 overflows inside it.

    Raises:
        ConfigError: a field names something that does not exist or does not fit.
        HubError: the hub does not have it, or is out of reach.
        UnsafeFileError: the weights are pickled.
    """
    compute, place = _dtype(dtype), _device(device)
    wide = torch.promote_types(compute, torch.float32)
    found = locate(base, where="model.base", revision=revision)
    if found.path.is_file():
        parts = load_single_file(found.path, config, compute, wide)
    else:
        parts = load_folder(found.path, compute, wide)
        parts = parts._replace(family=_with_habits(parts.family, found.path / HABITS))
    if vae is not None:
        parts = parts._replace(vae=_other_vae(vae, parts, wide))
    check_vae(parts.vae, vae or base)
    stage_b = () if parts.stage_b is None else parts.stage_b.nets
    for net in (parts.unet, parts.vae, *parts.text.encoders, *stage_b):
        nn.Module.to(freeze(net), place)
    set_attention(parts.unet, attention)
    return _bundle(parts, compute, base, found.revision)


def _other_vae(source: str, parts: Parts, wide: torch.dtype) -> AutoencoderKL | EffNetEncoder:
    if parts.family.image_width is None:
        return load_vae(source, parts.layout, wide)
    found = locate(source, where="model.vae").path
    return load_effnet(found / EFFNET if found.is_dir() else found, wide)


def _with_habits(family: Family, path: Path) -> Family:
    """Return the family with the guidance a folder says suits its model, if it says one.

    Raises:
        ConfigError: the file is not {"guidance": number}.
    """
    if not path.is_file():
        return family
    try:
        told = read_json(path)
    except BadText as error:
        hint = 'write {"guidance": 5.0}, or remove the file'
        raise ConfigError(error.reason, where=str(path), hint=hint) from error
    guidance = told.get("guidance") if isinstance(told, dict) else None
    if not isinstance(guidance, int | float) or isinstance(guidance, bool):
        hint = 'write {"guidance": 5.0}, or remove the file'
        raise ConfigError("says no guidance", where=str(path), hint=hint)
    return replace(family, guidance=float(guidance))


def _bundle(parts: Parts, compute: torch.dtype, source: str, revision: str | None) -> Bundle:
    schedule, prediction = read_schedule(parts.scheduler.config, source)
    return Bundle(
        family=parts.family,
        unet=parts.unet,
        vae=parts.vae,
        text=parts.text,
        schedule=schedule,
        prediction=prediction,
        scheduler=parts.scheduler,
        dtype=compute,
        source=source,
        revision=revision,
        stage_b=parts.stage_b,
        fingerprints={
            "unet": fingerprint([parts.unet]),
            "vae": fingerprint([parts.vae]),
            "text": fingerprint(parts.text.encoders),
        },
    )


def _dtype(name: str) -> torch.dtype:
    if name not in DTYPES:
        hint = nearest(name, DTYPES)
        raise ConfigError(f"'{name}' is not a precision", where="model.dtype", hint=hint)
    return DTYPES[name]


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError as error:
        hint = nearest(name, ("cpu", "cuda", "cuda:0", "mps"))
        raise ConfigError(f"'{name}' is not a device", where="model.device", hint=hint) from error
    ready = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.mps.is_available()}
    if not ready.get(device.type, False):
        usable = ", ".join(kind for kind, here in ready.items() if here)
        raise ConfigError(
            f"there is no {device.type} on this machine",
            where="model.device",
            hint=f"usable here: {usable}; `diffpref doctor` shows what is missing",
        )
    return device
