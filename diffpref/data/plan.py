"""What a cache will hold, settled before anything is read or encoded."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import blake2b
from json import dumps
from typing import Literal

from diffpref.data.encoder import Encoder, StoredDtype, folder_name, image_key, text_key
from diffpref.data.filters import Filters
from diffpref.data.prepare import Cutting
from diffpref.data.readers import RecordSource
from diffpref.data.transform import buckets
from diffpref.errors import ConfigError

LATENT_MULTIPLE = 8
"""Sides of latents are multiples of this: SD1.5 and SDXL halve them up to three times."""


@dataclass(frozen=True, kw_only=True)
class CacheSettings:
    """How a cache is made.

    resolution: side in pixels of the square bucket; None takes the model's own.
    dtype: what is stored; fp16 halves the disk and is read back as float32.
    buckets: whether images may keep an aspect ratio near their own, else all become square.
    crop: `centre`, or `random` by (seed, row number).
    on_bad_row: `skip` leaves bad rows out and counts them, `error` stops at the first.
    max_bad_fraction: the share of bad rows above which this must be the wrong file.
    batch: images or prompts encoded at once. shard: images per file, and lost by a kill at most.
    """

    resolution: int | None = None
    dtype: StoredDtype = "fp16"
    buckets: bool = True
    crop: Literal["centre", "random"] = "centre"
    seed: int = 0
    on_bad_row: Literal["skip", "error"] = "skip"
    max_bad_fraction: float = 0.05
    batch: int = 8
    shard: int = 256


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A data set in a cache: `key` names its rows, the folders hold its latents and embeddings."""

    key: str
    images: Mapping[str, str | int]
    text: Mapping[str, str | int]
    cutting: Cutting
    filters: Filters
    settings: CacheSettings

    @property
    def image_folder(self) -> str:
        return folder_name(self.images)

    @property
    def text_folder(self) -> str:
        return folder_name(self.text)


def make_plan(
    source: RecordSource, encoder: Encoder, settings: CacheSettings, filters: Filters
) -> Plan:
    """Return the plan; equal plans have equal keys, whatever the tolerance for bad rows.

    Raises:
        ConfigError: the resolution does not suit the model.
    """
    resolution = settings.resolution or encoder.resolution
    images = image_key(encoder, resolution, settings.dtype)
    text = text_key(encoder, settings.dtype)
    what = {
        "images": images,
        "text": text,
        "source": [source.format, source.split, source.stamp()],
        "filters": asdict(filters),
        "buckets": settings.buckets,
        "crop": settings.crop if settings.crop == "centre" else f"random {settings.seed}",
    }
    return Plan(
        key=blake2b(dumps(what, sort_keys=True).encode(), digest_size=8).hexdigest(),
        images=images,
        text=text,
        cutting=make_cutting(settings, resolution, encoder.vae_factor),
        filters=filters,
        settings=settings,
    )


def make_cutting(settings: CacheSettings, resolution: int, vae_factor: int) -> Cutting:
    """Return the buckets of a resolution and how images are cropped to them.

    Raises:
        ConfigError: the resolution is not a multiple of what the model needs.
    """
    multiple = vae_factor * LATENT_MULTIPLE
    if resolution < multiple or resolution % multiple:
        near = max(multiple, round(resolution / multiple) * multiple)
        raise ConfigError(
            f"{resolution} is not a multiple of {multiple}",
            where="data.resolution",
            hint=f"choose {near}",
        )
    square = ((resolution, resolution),)
    return Cutting(
        choices=buckets(resolution, multiple) if settings.buckets else square,
        seed=settings.seed if settings.crop == "random" else None,
    )
