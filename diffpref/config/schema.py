"""The fields of a run's configuration, their defaults and what they mean."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Positive = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """Unknown keys are errors; a loaded configuration does not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


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
    dtype: Literal["fp32", "bf16", "fp16", "fp64"] = "bf16"
    device: str = Field(default="auto", description="auto, cpu, cuda, cuda:1, mps")
    attention: Literal["sdpa", "xformers"] = "sdpa"
    gradient_checkpointing: bool | Literal["keep_matmuls", "keep_convs"] = Field(
        default=False,
        description="true keeps least and computes a quarter more; keep_matmuls is nearly free; "
        "keep_convs is in between",
    )


class AdapterSettings(Section):
    kind: Literal["lora", "full", "user"] = "lora"
    rank: Positive = 16
    alpha: float | None = Field(
        default=None, gt=0, description="LoRA scale is alpha / rank; null is rank"
    )
    targets: str | tuple[str, ...] | None = Field(
        default=None, description="name of a group, layer names, or null for the family's own"
    )
    dora: bool = False


class ReferenceConfig(Section):
    kind: Literal["none", "frozen", "adapters_off", "ema", "moving", "gate_off"] = "adapters_off"
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
        default=False, description="ema, moving: keep its weights in main memory between uses"
    )


class DataConfig(Section):
    source: str = Field(description="folder, file, builtin:pairs, or a datasets id")
    split: str = "train"
    format: str | None = Field(default=None, description="reader; null recognises it")
    cache: str = Field(
        default="cache", description="folder of latents and embeddings, shared by runs"
    )
    cache_dtype: Literal["fp16", "bf16", "fp32"] = "fp16"
    resolution: int | None = Field(
        default=None, ge=8, description="pixels; null is the model's own"
    )
    buckets: bool = Field(default=True, description="keep aspect ratios near the images' own")
    crop: Literal["centre", "random"] = "centre"
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
    ties: Literal["drop", "soft"] = "drop"
    labels: str | None = Field(
        default=None,
        description="label table of `diffpref label pairs`; its scores replace the data's own",
    )
    unpaired: bool = Field(
        default=False,
        description="single images: liked if preferred at least once, else disliked",
    )
    absolute_winners: bool = False
    generators: tuple[str, ...] = ()
    min_side: int = Field(default=0, ge=0)
    max_rows: Positive | None = None
    on_bad_row: Literal["skip", "error"] = "skip"
    max_bad_fraction: Share = 0.05


class SamplerConfig(Section):
    """Who samples: the policy, or an average of its past."""

    kind: Literal["policy", "ema"] = "policy"
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
    dtype: Literal["fp32", "bf16", "fp16"] = "fp32"
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


class VlmConfig(Section):
    """The vision-language model of encoder vlm, and what is read of it."""

    folder: str = Field(
        description="folder of a transformers vision-language model, such as LLaVA-OneVision or "
        "Qwen2.5-VL, with its tokenizer, chat template and processor"
    )
    layer: int = Field(default=-1, description="hidden states: 0 embeddings, -1 the last layer")
    pooling: Literal["last", "mean"] = Field(
        default="last", description="the last token, or the mean over what the model said"
    )
    words: int = Field(
        default=0, ge=0, description="tokens the model says about the person first, at most"
    )
    side: Positive = Field(default=384, description="pixels of a picture's longer side, at most")
    pairs: Positive = Field(default=4, description="pairs of one conversation, at most")
    dtype: Literal["fp32", "bf16", "fp16"] = "bf16"
    device: str = Field(default="auto", description="auto, cpu, cuda, cuda:1, mps")
    batch: Positive = Field(default=1, description="conversations read at once")


class UsersConfig(Section):
    """Whom rows are for: how users are described, and how they are told to the adapter."""

    encoder: Literal["mean_difference", "bt", "vlm", "world_taste"] = Field(
        default="mean_difference",
        description="mean_difference: what the user's choices have more of, a simple one; "
        "bt: the embedding of a profile, so that `generate --profile` can tell it; "
        "vlm: hidden states of a vision-language model that is shown the choices; "
        "world_taste: the exact taste of the bundled people, an upper bound",
    )
    prior: str = Field(
        default="bt-world",
        description="the population of encoder bt: bt-world, or a file or folder of "
        "`train-reward --head bt-prior`",
    )
    scorer: str = Field(
        default="world-reward", description="whose image embeddings describe choices"
    )
    vlm: VlmConfig | None = Field(default=None, description="what encoder vlm reads")
    width: Positive = Field(default=8, description="numbers of a user's vector")
    tokens: Positive = Field(default=4, description="tokens per user; diffusers reads 4")
    support: tuple[Positive, ...] = Field(
        default=(1, 2, 4, 8, 16),
        description="how many other choices describe the user; each row draws one of these",
    )
    dropout: Share = Field(
        default=0.0,
        description="how often a row has no user; where only the adapter trains such a row "
        "teaches nothing",
    )
    counter: Share = Field(
        default=0.0,
        description="how often a pair is joined by the vote of a user who chose its other image",
    )
    held_out: str | None = Field(
        default="validation",
        description="split of the source whose users implicit accuracy is measured on, as often "
        "as evaluate.every says; null does not measure",
    )
    held_out_rows: Positive = 200
    held_out_support: Positive = Field(
        default=16, description="choices that describe a held-out user"
    )


class LoopConfig(Section):
    steps: Positive = 1000
    micro_batches: Positive = Field(default=1, description="micro-batches per optimizer step")
    rows_per_pass: Positive | None = Field(
        default=None,
        description="images whose activations are held at once, at the price of one more forward; "
        "null holds one micro-batch",
    )
    max_grad_norm: float = Field(default=1.0, gt=0)
    max_consecutive_skips: Positive = 3


class OptimizerConfig(Section):
    name: Literal["adamw", "adamw8bit", "adafactor"] = "adamw"
    lr: float = Field(default=1e-5, gt=0, description="per optimizer step, after any scaling")
    schedule: Literal["constant", "linear", "cosine"] = Field(
        default="constant",
        description="after the warm-up: stays, or falls to zero at the last step",
    )
    warmup: int = Field(default=0, ge=0, description="optimizer steps of linear warm-up")
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = Field(default=1e-8, gt=0)
    weight_decay: float = Field(default=1e-2, ge=0)


class EmaConfig(Section):
    decay: float = Field(default=0.999, ge=0, lt=1)


class EvaluateConfig(Section):
    every: Positive = Field(description="optimizer steps between validations")
    prompts: str = "builtin:prompts/validation"
    n: Positive = Field(default=32, description="prompts, from the top of the file")
    seeds: tuple[int, ...] = (0,)
    scorers: tuple[str, ...] = ()
    guidance: float | None = Field(default=None, description="null is the family's own")
    steps: Positive = 20
    sampler: str = "ddim"
    drift_features: str | None = Field(
        default=None, description="scorer in whose image embeddings drift is measured too"
    )
    max_drift: dict[str, Annotated[float, Field(gt=0)]] = Field(
        default_factory=dict,
        description="largest drift by name: low_level, untouched (bundled model), or the "
        "drift_features; beyond it the run ends early",
    )


class SaveConfig(Section):
    every: Positive = 100
    keep: Positive = 2
    best_by: str | None = Field(default=None, description="win_rate/<scorer> of evaluate.scorers")


class LogConfig(Section):
    every: Positive = 1
    trackers: tuple[str, ...] = Field(default=(), description="tensorboard, wandb, trackio")


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

    seed: int = 0
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
