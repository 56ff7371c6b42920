"""Whose licences a result stands on: the base's, the data's, the judges'."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from diffpref.config.schema import RunConfig
from diffpref.evaluate.opened import short_name
from diffpref.rewards import SCORERS

OURS = "apache-2.0"

BASES: Mapping[str, str] = MappingProxyType(
    {
        "stable-diffusion-v1-5/stable-diffusion-v1-5": "creativeml-openrail-m",
        "runwayml/stable-diffusion-v1-5": "creativeml-openrail-m",
        "CompVis/stable-diffusion-v1-4": "creativeml-openrail-m",
        "stabilityai/stable-diffusion-2-1": "openrail++",
        "stabilityai/stable-diffusion-xl-base-1.0": "openrail++",
        "stabilityai/sdxl-turbo": "sai-nc-community",
    }
)
"""Hub id -> licence of well-known bases, as their cards give it."""

DATA: Mapping[str, str] = MappingProxyType(
    {
        "yuvalkirstain/pickapic_v1": "mit",
        "yuvalkirstain/pickapic_v2": "mit",
    }
)

_LICENCE = re.compile(r"^license:\s*[\"']?([\w.+-]+)", re.MULTILINE)
UNKNOWN = "not stated; ask its owner before you publish"


def licence_of_base(base: str) -> str:
    """Return the licence of a base: known, or as the card in its folder says."""
    if base.startswith("builtin:"):
        return OURS
    if base in BASES:
        return BASES[base]
    card = Path(base) / "README.md"
    if card.is_file():
        with card.open(encoding="utf-8", errors="replace") as file:
            found = _LICENCE.search(file.read(4096))
        if found is not None:
            return found[1].lower()
    return UNKNOWN


def chain(config: RunConfig) -> Iterator[tuple[str, str, str]]:
    """Yield (what, name, licence) of everything a run's result was made from."""
    base = config.model.base
    yield "base model", public_name(base), licence_of_base(base)
    if config.model.vae is not None:
        yield "autoencoder", short_name(config.model.vae), licence_of_base(config.model.vae)
    if config.model.init_lora is not None:
        yield "LoRA merged before training", short_name(config.model.init_lora), UNKNOWN
    if config.data is not None:
        source = config.data.source
        licence = OURS if source.startswith("builtin:") else DATA.get(source, UNKNOWN)
        yield "preference data", source_name(source), licence
    judges = [] if config.reward is None else [config.reward.scorer]
    judges += [] if config.users is None else [config.users.scorer]
    for name in dict.fromkeys(judges):
        plain = name.partition(":")[0]
        known = SCORERS[plain].licence if plain in SCORERS else UNKNOWN
        yield "scorer it learned from", plain, known
    yield "training code", "diffpref", OURS


def public_name(base: str) -> str:
    """Return a base's name: bundled or of the hub, or its file's without folders."""
    return base if base.startswith("builtin:") else short_name(base)


def source_name(source: str) -> str:
    """Return what a card may call a data source: a public name, never a file's."""
    if source.startswith("builtin:"):
        return source
    public = re.fullmatch(r"[\w.-]+/[\w.-]+", source) and not Path(source).exists()
    return source if public else "a local data set"
