"""What a run would do, said before it does it: data, batch arithmetic, memory, disk, first loss."""

from dataclasses import asdict, dataclass, field
from typing import Literal

from diffpref.catalogue import build_objective
from diffpref.config.schema import DataConfig, RunConfig
from diffpref.config.stand_in import stand_in
from diffpref.data.inspect import inspect_source
from diffpref.evaluate.prompts import read_prompts
from diffpref.losses import PairLoss
from diffpref.models import Bundle, trainable_parameters
from diffpref.models.checkpointing import Keep
from diffpref.objective import PreferenceObjective
from diffpref.run.choose import settled, told_of, trained_of
from diffpref.run.data import Progress, filters_of, source_of
from diffpref.run.fsdp import launched
from diffpref.run.memory import Footprint, copies_of, footprint, state_bytes, worked
from diffpref.run.rollouts.online import rows_per_step
from diffpref.strength import Strength
from diffpref.types import AnyObjective, Conditioning

CACHE_BYTES = {"fp16": 2, "bf16": 2, "fp32": 4}


@dataclass(frozen=True, kw_only=True)
class Preflight:
    """The plan of a run. Memory and disk in bytes; `first_loss` is None where it is not known."""

    rows: int
    kept: int
    dropped: dict[str, int]
    bad: int
    prompts: int
    overlong: int
    prompts_per_step: int
    images_per_pass: int
    steps: int
    epochs: float
    trainable: int
    checkpointing: Keep | Literal["auto"]
    memory: Footprint
    cache_bytes: int
    checkpoint_bytes: int
    first_loss: float | None
    strength: str | None

    def plain(self) -> dict[str, object]:
        return {**asdict(self), "memory": {**asdict(self.memory), "total": self.memory.total}}


def preflight(
    config: RunConfig, bundle: Bundle, *, processes: int = 1, progress: Progress | None = None
) -> Preflight:
    """Read the data once and count the rest; nothing is trained or written.

    Raises:
        DataError: the data cannot be read.
    """
    config = settled(config, bundle)
    supply = (
        _of_prompts(config, bundle, processes)
        if config.data is None
        else _of_data(config, config.data, bundle, processes, progress)
    )
    latent = bundle.latent_shape(supply.side, supply.side)
    cond = bundle.encode_text([""])
    rows = config.loop.rows_per_pass or supply.held
    trained = sum(value.numel() for value in trainable_parameters(bundle.unet).values())
    per_number = state_bytes(config, bundle.unet)
    kit = stand_in(config.rollout)
    objective = build_objective(config.method.name, kit, config.method.settings, config.parts)
    numel = latent[0] * latent[1] * latent[2]
    return Preflight(
        rows=supply.found,
        kept=supply.kept,
        dropped=supply.dropped,
        bad=supply.bad,
        prompts=supply.prompts,
        overlong=supply.overlong,
        prompts_per_step=supply.per_step,
        images_per_pass=rows,
        steps=config.loop.steps,
        epochs=config.loop.steps * supply.per_step / max(1, supply.kept),
        trainable=trained,
        checkpointing=config.model.gradient_checkpointing,
        memory=footprint(
            trained_of(config, bundle),
            told_of(bundle, cond, supply.side),
            worked(config, latent=latent, rows=rows, held=supply.held),
            copies=copies_of(config),
            optimizer_bytes=per_number,
            shards=processes if launched() else 1,
        ),
        cache_bytes=_cache_bytes(config, supply, cond, numel),
        checkpoint_bytes=int(trained * (4 + per_number)) * (config.save.keep + 1),
        first_loss=getattr(objective, "first_loss", None),
        strength=_strength(objective, numel),
    )


@dataclass(frozen=True, kw_only=True)
class Supply:
    """What a run is fed: what was found, pixels a side, prompts or items of a step, rows held."""

    found: int
    kept: int
    prompts: int
    overlong: int
    side: int
    per_step: int
    held: int
    images: int = 0
    bad: int = 0
    dropped: dict[str, int] = field(default_factory=dict[str, int])


def _cache_bytes(config: RunConfig, supply: Supply, cond: Conditioning, numel: int) -> int:
    """Return what the cache takes: mean and deviation of every image, text of every prompt."""
    if config.data is None:
        return 0
    text = cond.text[0].numel() + (0 if cond.pooled is None else cond.pooled[0].numel())
    stored = CACHE_BYTES[config.data.cache_dtype]
    return stored * (supply.images * 2 * numel + (supply.prompts + 1) * text)


def _of_data(
    config: RunConfig,
    data: DataConfig,
    bundle: Bundle,
    processes: int,
    progress: Progress | None,
) -> Supply:
    found = inspect_source(
        source_of(data),
        filters=filters_of(data),
        overlong=bundle.text.overlong,
        progress=progress,
    ).report
    images = max(map(int, found.by_k), default=2)
    return Supply(
        found=found.rows,
        kept=found.kept,
        prompts=found.prompts,
        overlong=found.overlong,
        images=found.images,
        bad=found.bad_rows,
        dropped=dict(found.dropped),
        side=data.resolution or bundle.resolution,
        per_step=data.pairs_per_batch * config.loop.micro_batches * processes,
        held=data.pairs_per_batch * images,
    )


def _of_prompts(config: RunConfig, bundle: Bundle, processes: int) -> Supply:
    """Return the supply of an online run; its reward is not loaded."""
    rollout = config.rollout
    assert rollout is not None  # check_fits
    texts = read_prompts(rollout.prompts)
    objective = build_objective(
        config.method.name, stand_in(rollout), config.method.settings, config.parts
    )
    rows = rows_per_step(rollout, config.method.name, objective) // processes
    return Supply(
        found=len(texts),
        kept=len(texts),
        prompts=len(set(texts)),
        overlong=bundle.text.overlong(texts),
        side=rollout.resolution or bundle.resolution,
        per_step=rollout.per_step,
        held=max(1, rows // config.loop.micro_batches),
    )


def _strength(objective: AnyObjective, numel: int) -> str | None:
    loss = objective.loss if isinstance(objective, PreferenceObjective) else None
    if not isinstance(loss, PairLoss):
        return None
    return Strength.from_salesforce(loss.beta).header(numel)
