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
    dtype: Literal["fp32", "bf16", "fp16"] = Field(
        default="bf16", description="precision the model reads pairs in"
    )
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
    held_out_rows: Positive = Field(default=200, description="rows of held-out users measured")
    held_out_support: Positive = Field(
        default=16, description="choices that describe a held-out user"
    )


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
