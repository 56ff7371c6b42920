"""The fields of a run's configuration, their defaults and what they mean.

Sections with many fields have a file of their own; all are imported from here.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from diffpref.config.data_fields import DataConfig
from diffpref.config.loop_fields import EmaConfig, LoopConfig, OptimizerConfig
from diffpref.config.online_fields import RewardConfig, RolloutConfig, SamplerConfig
from diffpref.config.section import Positive, Section
from diffpref.config.users_fields import UsersConfig, VlmConfig
from diffpref.config.watch_fields import EvaluateConfig, LogConfig, SaveConfig

__all__ = [
    "AdapterSettings",
    "DataConfig",
    "EmaConfig",
    "EvaluateConfig",
    "LogConfig",
    "LoopConfig",
    "MethodConfig",
    "ModelConfig",
    "OptimizerConfig",
    "ReferenceConfig",
    "RewardConfig",
    "RolloutConfig",
    "RunConfig",
    "SamplerConfig",
    "SaveConfig",
    "UsersConfig",
    "VlmConfig",
]


class ModelConfig(Section):
    base: str = Field(
        description="builtin:base, a diffusers folder, a .safetensors file, or a hub id"
    )
    revision: str | None = Field(default=None, description="branch, tag or commit of a hub id")
    vae: str | None = Field(
        default=None, description="another autoencoder, such as an fp16-safe one"
    )
    config: str | None = Field(
        default=None, description="folder with the configs of a single-file base"
    )
    init_lora: str | None = Field(
        default=None,
        description="LoRA merged into the base before training; policy and reference get it",
    )
    dtype: Literal["fp32", "bf16", "fp16", "fp64"] = Field(
        default="bf16",
        description="precision the networks compute in; errors are measured in float32 or wider",
    )
    device: str = Field(default="auto", description="auto, cpu, cuda, cuda:1, mps")
    attention: Literal["sdpa", "xformers"] = Field(
        default="sdpa", description="torch's own attention, or the extra xformers"
    )
    gradient_checkpointing: bool | Literal["keep_matmuls", "keep_convs", "auto"] = Field(
        default=False,
        description="true keeps least and computes a quarter more; keep_matmuls is nearly free; "
        "keep_convs is in between; auto is the cheapest that fits the card, false on a CPU",
    )
    channels_last: bool = Field(
        default=False,
        description="weights and latents with channels last, as convolutions on GPUs like them; "
        "pays with compile_blocks",
    )
    compile_blocks: bool = Field(
        default=False,
        description="compile transformer and resnet blocks; the first steps take minutes",
    )


class AdapterSettings(Section):
    kind: Literal["lora", "full", "user"] = Field(
        default="lora",
        description="what trains: a LoRA, every weight of the UNet, or a cross-attention for users",
    )
    rank: Positive = Field(default=16, description="of a LoRA")
    alpha: float | None = Field(
        default=None, gt=0, description="LoRA scale is alpha / rank; null is rank"
    )
    targets: str | tuple[str, ...] | None = Field(
        default=None, description="name of a group, layer names, or null for the family's own"
    )
    dora: bool = Field(default=False, description="LoRA with magnitudes of its own")
    precision: Literal["fp32", "stochastic", "kahan", "split"] = Field(
        default="fp32",
        description="how what trains is kept; with model.dtype bf16, in 16 bits: stochastic rounds "
        "at random, kahan and split keep 16 bits more beside them, split every bit of fp32",
    )


class ReferenceConfig(Section):
    kind: Literal["none", "frozen", "adapters_off", "ema", "moving", "gate_off"] = Field(
        default="adapters_off",
        description="what the policy is compared with: nothing, a copy, itself without its LoRA, "
        "an average of its past, a copy renewed now and then, itself told of no user",
    )
    decay: float = Field(
        default=0.999, ge=0, lt=1, description="ema: share of the old average kept"
    )
    refresh_every: Positive = Field(
        default=1, description="optimizer steps between updates: ema, moving"
    )
    budget: float | None = Field(
        default=None,
        gt=0,
        description="moving: largest change of the mean squared error from the start's at which "
        "the policy is copied; null copies always",
    )
    beyond: Literal["freeze", "restart"] = Field(
        default="freeze", description="moving: stay for good, or go back to the start"
    )
    probe: Positive = Field(
        default=64, description="moving: preferred images the budget is measured on"
    )
    offload: bool = Field(
        default=False,
        description="frozen, ema, moving: keep its weights in main memory; once per optimizer "
        "step they take the policy's place for all its rows",
    )


def _named(value: object) -> object:
    """Read `method: diffusion_dpo` as `method: {name: diffusion_dpo}`."""
    return {"name": value} if isinstance(value, str) else value


class MethodConfig(BaseModel):
    """`name`, and the keyword arguments of that method's function."""

    model_config = ConfigDict(extra="allow", frozen=True)
    name: str

    @property
    def settings(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class RunConfig(Section):
    """One file describes a run."""

    seed: int = Field(
        default=0, description="of everything drawn: order, noise, timesteps, crops, new weights"
    )
    model: ModelConfig
    adapter: AdapterSettings = AdapterSettings()
    reference: ReferenceConfig = ReferenceConfig()
    method: Annotated[MethodConfig, BeforeValidator(_named)]
    parts: dict[str, str | dict[str, Any]] = Field(
        default_factory=dict, description="parts that replace the method's own, by name"
    )
    data: DataConfig | None = None
    rollout: RolloutConfig | None = None
    reward: RewardConfig | None = None
    users: UsersConfig | None = Field(
        default=None, description="with adapter.kind user: whom rows are for"
    )
    loop: LoopConfig = LoopConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    ema: EmaConfig | None = None
    evaluate: EvaluateConfig | None = None
    save: SaveConfig = SaveConfig()
    log: LogConfig = LogConfig()
