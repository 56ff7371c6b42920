"""The fields of `evaluate`, `save` and `log`."""

from typing import Annotated

from pydantic import Field

from diffpref.config.section import Positive, Section


class EvaluateConfig(Section):
    every: Positive = Field(description="optimizer steps between validations")
    prompts: str = Field(
        default="builtin:prompts/validation", description="a file, or builtin:prompts/..."
    )
    n: Positive = Field(default=32, description="prompts, from the top of the file")
    seeds: tuple[int, ...] = Field(
        default=(0,), description="images per prompt, one a seed, the same for policy and base"
    )
    scorers: tuple[str, ...] = Field(
        default=(), description="who judges, see `diffpref scorers list`"
    )
    guidance: float | None = Field(default=None, description="null is the family's own")
    steps: Positive = Field(default=20, description="sampler steps")
    sampler: str = Field(default="ddim", description="name of the sampler")
    drift_features: str | None = Field(
        default=None, description="scorer in whose image embeddings drift is measured too"
    )
    max_drift: dict[str, Annotated[float, Field(gt=0)]] = Field(
        default_factory=dict,
        description="largest drift by name: low_level, untouched (bundled model), or the "
        "drift_features; beyond it the run ends early",
    )


class SaveConfig(Section):
    every: Positive = Field(default=100, description="optimizer steps between checkpoints")
    keep: Positive = Field(default=2, description="newest checkpoints kept, beside the best")
    best_by: str | None = Field(default=None, description="win_rate/<scorer> of evaluate.scorers")


class LogConfig(Section):
    every: Positive = Field(default=1, description="optimizer steps between lines of metrics.jsonl")
    trackers: tuple[str, ...] = Field(default=(), description="tensorboard, wandb, trackio")
