"""The fields of `data`."""

from typing import Literal

from pydantic import Field

from diffpref.config.section import Positive, Section, Share


class DataConfig(Section):
    source: str = Field(description="folder, file, builtin:pairs, or a datasets id")
    split: str = Field(default="train", description="part of the source")
    format: str | None = Field(default=None, description="reader; null recognises it")
    cache: str = Field(
        default="cache", description="folder of latents and embeddings, shared by runs"
    )
    cache_dtype: Literal["fp16", "bf16", "fp32"] = Field(
        default="fp16", description="precision of stored latents and embeddings"
    )
    resolution: int | None = Field(
        default=None, ge=8, description="pixels; null is the model's own"
    )
    buckets: bool = Field(default=True, description="keep aspect ratios near the images' own")
    crop: Literal["centre", "random"] = Field(
        default="centre",
        description="where images are cut to their bucket; both images of a pair alike",
    )
    pairs_per_batch: Positive = Field(4, description="prompts per micro-batch and process")
    caption_drop: Share = Field(
        default=0.0, description="how often a caption is replaced by the empty one"
    )
    draws_per_row: Positive | None = Field(
        default=None, description="K draws of (t, noise) per row, in turn; null draws anew for ever"
    )
    recall: bool = Field(
        default=False,
        description="compute noisy latents and the reference's side once per draw, and keep them "
        "in the cache; needs draws_per_row",
    )
    ties: Literal["drop", "soft"] = Field(
        default="drop", description="leave ties out, or learn from them (parts.loss: cross_entropy)"
    )
    labels: str | None = Field(
        default=None,
        description="label table of `diffpref label pairs`; its scores replace the data's own",
    )
    unpaired: bool = Field(
        default=False,
        description="single images: liked if preferred at least once, else disliked",
    )
    absolute_winners: bool = Field(
        default=False,
        description="keep rows whose best image won at least once and never lost in the source",
    )
    generators: tuple[str, ...] = Field(
        default=(),
        description="words; keep rows whose images all come from a model named with one of them",
    )
    min_side: int = Field(
        default=0, ge=0, description="pixels; rows with a smaller image are left out"
    )
    max_rows: Positive | None = Field(default=None, description="keep the first so many good rows")
    on_bad_row: Literal["skip", "error"] = Field(
        default="skip", description="count and report it, or stop"
    )
    max_bad_fraction: Share = Field(
        default=0.05, description="share of bad rows above which the run refuses to start"
    )
