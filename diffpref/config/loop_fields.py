"""The fields of `loop`, `optimizer` and `ema`."""

from typing import Literal

from pydantic import Field

from diffpref.config.section import Positive, Section


class LoopConfig(Section):
    steps: Positive = Field(default=1000, description="optimizer steps")
    micro_batches: Positive = Field(default=1, description="micro-batches per optimizer step")
    rows_per_pass: Positive | None = Field(
        default=None,
        description="images whose activations are held at once, at the price of one more forward "
        "if it cuts prompts in two; null holds one micro-batch",
    )
    rows_ahead: Positive | None = Field(
        default=None,
        description="images of a pass without gradient; null inverts four times rows_per_pass at "
        "once and measures the reference as the policy is",
    )
    max_grad_norm: float | None = Field(
        default=1.0, gt=0, description="global norm the gradient is clipped to; null does not clip"
    )
    max_consecutive_skips: Positive = Field(
        default=3,
        description="steps in a row that were not finite, after which the last good checkpoint is "
        "restored once; the next time the run ends",
    )


class OptimizerConfig(Section):
    name: Literal["adamw", "adamw8bit", "adafactor", "adafactor_flat"] = Field(
        default="adamw",
        description="adamw8bit needs the extra bnb; adafactor keeps a row and a column per matrix, "
        "adafactor_flat also of convolutions",
    )
    lr: float = Field(default=1e-5, gt=0, description="per optimizer step, after any scaling")
    schedule: Literal["constant", "linear", "cosine"] = Field(
        default="constant",
        description="after the warm-up: stays, or falls to zero at the last step",
    )
    warmup: int = Field(default=0, ge=0, description="optimizer steps of linear warm-up")
    betas: tuple[float, float] = Field(default=(0.9, 0.999), description="of AdamW")
    eps: float = Field(default=1e-8, gt=0, description="of AdamW")
    weight_decay: float = Field(default=1e-2, ge=0, description="decoupled from the gradient")
    in_backward: bool = Field(
        default=False,
        description="update each weight as soon as its gradient is known: no gradient waits; one "
        "pass per step, and loop.max_grad_norm: null",
    )


class EmaConfig(Section):
    decay: float = Field(
        default=0.999,
        ge=0,
        lt=1,
        description="share of the old average kept per step; the average is what is exported",
    )
