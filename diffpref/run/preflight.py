"""What a run would do, said before it does it: data, batch arithmetic, memory, disk, first loss."""

from dataclasses import asdict, dataclass, replace

import torch

from diffpref.catalogue import build_objective
from diffpref.config.fits import no_features
from diffpref.config.schema import RunConfig
from diffpref.data.inspect import inspect_source
from diffpref.losses import PairLoss
from diffpref.models import Bundle, trainable_parameters
from diffpref.objective import PreferenceObjective
from diffpref.run.data import Progress, filters_of, source_of
from diffpref.run.fsdp import launched
from diffpref.run.memory import Footprint, footprint
from diffpref.strength import Strength
from diffpref.toolkit import Toolkit
from diffpref.types import AnyObjective, Conditioning

OPTIMIZER_BYTES = {"adamw": 8.0, "adamw8bit": 2.0, "adafactor": 0.1}
"""State bytes per trainable number; Adafactor keeps one row and one column per matrix."""

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
    found = inspect_source(
        source_of(config.data),
        filters=filters_of(config.data),
        overlong=bundle.text.overlong,
        progress=progress,
    ).report
    images = max(map(int, found.by_k), default=2)
    side = config.data.resolution or bundle.resolution
    latent = bundle.latent_shape(side, side)
    cond = bundle.encode_text([""])
    per_step = config.data.pairs_per_batch * config.loop.micro_batches * processes
    rows = config.loop.rows_per_pass or config.data.pairs_per_batch * images
    trained = sum(value.numel() for value in trainable_parameters(bundle.unet).values())
    per_number = OPTIMIZER_BYTES[config.optimizer.name]
    copies = int(config.reference.kind == "frozen")
    kit = Toolkit(schedule=bundle.schedule, embedder=no_features)
    objective = build_objective(config.method.name, kit, config.method.settings, config.parts)
    stored = CACHE_BYTES[config.data.cache_dtype]
    numel = latent[0] * latent[1] * latent[2]
    text = cond.text[0].numel() + (0 if cond.pooled is None else cond.pooled[0].numel())
    return Preflight(
        rows=found.rows,
        kept=found.kept,
        dropped=dict(found.dropped),
        bad=found.bad_rows,
        prompts=found.prompts,
        overlong=found.overlong,
        prompts_per_step=per_step,
        images_per_pass=rows,
        steps=config.loop.steps,
        epochs=config.loop.steps * per_step / max(1, found.kept),
        trainable=trained,
        memory=footprint(
            bundle,
            _with_ids(bundle, cond, side),
            rows=rows,
            latent=latent,
            copies=copies,
            optimizer_bytes=per_number,
            shards=processes if launched() else 1,
        ),
        cache_bytes=stored * (found.images * 2 * numel + (found.prompts + 1) * text),
        checkpoint_bytes=int(trained * (4 + per_number)) * (config.save.keep + 1),
        first_loss=objective.first_loss if isinstance(objective, PreferenceObjective) else None,
        strength=_strength(objective, numel),
    )


def _with_ids(bundle: Bundle, cond: Conditioning, side: int) -> Conditioning:
    size = torch.tensor([[side, side]])
    return replace(cond, time_ids=bundle.family.time_ids(size, torch.zeros_like(size), size))


def _strength(objective: AnyObjective, numel: int) -> str | None:
    loss = objective.loss if isinstance(objective, PreferenceObjective) else None
    if not isinstance(loss, PairLoss):
        return None
    return Strength.from_salesforce(loss.beta).header(numel)
