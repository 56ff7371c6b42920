"""The fields of `rollout` and `reward`."""

from typing import Annotated, Literal

from pydantic import Field

from diffpref.config.section import Positive, Section, Share


class SamplerConfig(Section):
    """Who samples: the policy, or an average of its past."""

    kind: Literal["policy", "ema"] = Field(
        default="policy", description="who samples: the policy, or an average of its past"
    )
    decay: float = Field(default=0.9, ge=0, lt=1, description="ema: share of the old average kept")
    refresh_every: Positive = Field(default=1, description="ema: optimizer steps between updates")


class RolloutConfig(Section):
    """How the policy's own samples are made; in place of `data`."""

    prompts: str = Field(
        default="builtin:prompts/train", description="what is asked: a file, or builtin:prompts/..."
    )
    prompts_per_round: Positive = Field(
        default=16, description="prompts sampled between updates, over all processes"
    )
    images: Annotated[int, Field(ge=2)] = Field(
        default=4, description="images per prompt, for methods on whole images"
    )
    per_step: Positive = Field(
        default=16, description="items (step pairs, images, lists) of one optimizer step"
    )
    passes: Positive = Field(default=1, description="how often a round is learned from")
    steps: Positive = Field(default=20, description="sampler steps")
    eta: Share = Field(default=1.0, description="stochasticity of a step; 0 is deterministic")
    guidance: float | None = Field(
        default=None, description="while sampling and learning; null is the family's own"
    )
    sampler: SamplerConfig = SamplerConfig()
    resolution: int | None = Field(
        default=None, ge=8, description="pixels; null is the model's own"
    )
    images_at_once: Positive | None = Field(
        default=None, description="images sampled together; null fits the size"
    )
    frozen: str | None = Field(
        default=None,
        description="folder of rounds of an earlier run (its rollouts/); nothing is sampled",
    )


class RewardConfig(Section):
    """What judges the policy's samples."""

    scorer: str = Field(
        description="any scorer, see `diffpref scorers list`; or noisy:FOLDER, a reward of noisy "
        "latents that `diffpref train-reward` wrote"
    )
    weights: str | None = Field(default=None, description="its file or folder")
    dtype: Literal["fp32", "bf16", "fp16"] = Field(
        default="fp32", description="precision of the scorer"
    )
    decoder: str | None = Field(
        default=None,
        description="folder of a tiny autoencoder (taesd); null is the model's own decoder",
    )
    images_at_once: Positive = Field(default=16, description="pictures decoded and scored together")
    standardise: int = Field(
        default=32,
        ge=0,
        description="images of the start whose scores set the reward's zero and unit; 0 leaves "
        "scores as they are",
    )
