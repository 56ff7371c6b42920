"""What learns in a run: the policy behind its wrapper, its optimizer, its reference."""

from contextlib import nullcontext
from typing import Any, cast

import torch
from accelerate import Accelerator

from diffpref.config.schema import RunConfig
from diffpref.models import Bundle, make_denoiser, trainable_parameters
from diffpref.references import Reference
from diffpref.run.updates import updates_of
from diffpref.train.ema import start_ema
from diffpref.train.optim import lr_factor
from diffpref.train.processes import Processes
from diffpref.train.shards import Shards
from diffpref.train.step import Learner
from diffpref.types import AnyObjective, Denoiser, Nets


def make_learner(
    config: RunConfig,
    accelerator: Accelerator,
    bundle: Bundle,
    objective: AnyObjective,
    reference: Reference,
    *,
    shards: Shards[Any] | None,
    old: Denoiser | None = None,
) -> Learner[Any]:
    """Return what learns: the policy split or behind accelerate's wrapper, the others bare.

    Raises:
        ConfigError: weights are to be updated in the backward pass, by several processes.
    """
    parameters, settings = trainable_parameters(bundle.unet), config.optimizer
    optimizer = updates_of(config, parameters, processes=accelerator.num_processes)
    # shards average gradients in every pass: waiting would hold a whole gradient per process
    together = accelerator.num_processes > 1 and shards is None
    wrapped = accelerator.prepare_model(bundle.unet) if together else bundle.unet
    scaled = bundle.dtype == torch.float16 and bundle.device.type == "cuda"
    return Learner(
        objective=objective,
        nets=Nets(policy=make_denoiser(wrapped, bundle), reference=reference.net, old=old),
        parameters=parameters,
        optimizer=optimizer,
        lr=settings.lr,
        lr_factor=lr_factor(settings.schedule, warmup=settings.warmup, steps=config.loop.steps),
        reference=reference,
        processes=cast(Processes, accelerator),  # it is typed less exactly than it behaves
        max_grad_norm=config.loop.max_grad_norm,
        seed=config.seed,
        rows_ahead=config.loop.rows_ahead,
        drawing=nullcontext if shards is None else shards.in_own_time,
        unsynced=(lambda: accelerator.no_sync(wrapped)) if together else nullcontext,
        ema=None if config.ema is None else start_ema(parameters, config.ema.decay),
        scaler=torch.amp.GradScaler() if scaled else None,
    )
