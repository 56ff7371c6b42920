"""Puts a run together: model, adapter, reference, objective, data, loop."""

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, cast

import torch
from accelerate import Accelerator

from diffpref.catalogue import build_objective, find_method
from diffpref.config.schema import RunConfig
from diffpref.data.batches import CachedPairs, Effort
from diffpref.data.cache import Cache
from diffpref.data.personal import Personal
from diffpref.data.shelf import open_shelf
from diffpref.draws import RNG_SCHEME
from diffpref.errors import ConfigError, DataError
from diffpref.models import Bundle, embedder_of, make_denoiser, trainable_parameters
from diffpref.objective import PreferenceObjective
from diffpref.references import Reference, together
from diffpref.run.data import windows_of
from diffpref.run.folder import versions
from diffpref.run.fsdp import shard_policy
from diffpref.run.recall import Progress, RecalledObjective, fill, memory, shelf_of
from diffpref.run.references import make_reference
from diffpref.run.rollouts.online import Online, rows_per_step
from diffpref.run.rollouts.tally import Tally
from diffpref.run.updates import updates_of
from diffpref.run.users import make_users
from diffpref.toolkit import Toolkit
from diffpref.train.ema import start_ema
from diffpref.train.optim import lr_factor
from diffpref.train.plan import LoopPlan
from diffpref.train.processes import Processes
from diffpref.train.shards import Shards
from diffpref.train.step import Learner
from diffpref.types import AnyObjective, Denoiser, Nets, Source


@dataclass(frozen=True, kw_only=True)
class Assembled:
    """Everything a loop needs, built and in place.

    cache: of an offline run. online: what an online run has instead. shards: the policy's, under
    FSDP. users: whom rows are for, in a run with users.
    """

    config: RunConfig
    bundle: Bundle
    cache: Cache | None = field(repr=False)
    objective: AnyObjective
    learner: Learner[Any] = field(repr=False)
    source: Source[Any] = field(repr=False)
    plan: LoopPlan
    identity: Mapping[str, object]
    online: Online | None = field(default=None, repr=False)
    shards: Shards[Any] | None = field(default=None, repr=False)
    users: Personal | None = field(default=None, repr=False)


def assemble(
    config: RunConfig,
    accelerator: Accelerator,
    bundle: Bundle,
    cache: Cache,
    progress: Progress | None = None,
) -> Assembled:
    """Build everything of an offline run around a loaded model and its cached data.

    `progress` is told while points to be recalled are computed.

    Every process calls it at the same time: wrapping the policy talks to the others.

    Raises:
        DataError: the cache is another model's, or a row is nothing for the method.
        ConfigError: a setting does not fit the model or the number of processes.
    """
    data = config.data
    assert data is not None  # check_fits
    cache.require(bundle)
    check_rows(config, cache)
    with accelerator.main_process_first():  # the others find the embeddings done
        users = make_users(config, cache, config.seed)
    kit = Toolkit(schedule=bundle.schedule, embedder=embedder_of(bundle))
    method = config.method
    objective = build_objective(method.name, kit, method.settings, config.parts)
    source = windows_of(
        data,
        cache,
        bundle,
        seed=config.seed,
        micro_batches=config.loop.micro_batches,
        rank=accelerator.process_index,
        world=accelerator.num_processes,
        users=users,
        effort=None if data.recall else effort_of(objective),
    )
    plan = make_plan(config, bundle, data.pairs_per_batch * images_per_prompt(cache))
    if data.recall:
        objective = recalled(
            config,
            accelerator,
            bundle,
            objective,
            source,
            rows_per_pass=plan.rows_per_pass,
            progress=progress,
        )
    # split only now: what was built so far looked at whole weights
    shards = shard_policy(config, bundle, processes=accelerator.num_processes)
    reference = (
        Reference(net=memory)
        if data.recall
        else make_reference(config.reference, bundle, source, shards)
    )
    return Assembled(
        config=config,
        bundle=bundle,
        cache=cache,
        objective=objective,
        learner=make_learner(config, accelerator, bundle, objective, reference, shards=shards),
        source=source,
        plan=plan,
        identity=identity_of(config, bundle, cache.fingerprint, accelerator)
        | ({} if users is None else {"users": users.encode.fingerprint}),
        shards=shards,
        users=users,
    )


def assemble_online(
    config: RunConfig, accelerator: Accelerator, bundle: Bundle, online: Online
) -> Assembled:
    """Build everything of an online run around a loaded model; every process calls it.

    Raises:
        ConfigError: a setting does not fit the model or the number of processes.
    """
    kit = Toolkit(
        schedule=bundle.schedule,
        embedder=embedder_of(bundle),
        reward=lambda: online.reward,
        plan=lambda: online.plan,
    )
    method, processes = config.method, cast(Processes, accelerator)
    objective = build_objective(method.name, kit, method.settings, config.parts)
    sampler, follow = online.sampler()
    reference = make_reference(config.reference, bundle, None)
    if follow is not None:
        reference = together(reference, follow)
    learner = make_learner(
        config, accelerator, bundle, objective, reference, old=sampler, shards=None
    )
    if find_method(method.name).data == "prompts":
        learner = replace(learner, nets=_counted(learner.nets, online.tally))
    rows = rows_per_step(online.config, method.name, objective) // processes.num_processes
    return Assembled(
        config=config,
        bundle=bundle,
        cache=None,
        objective=objective,
        learner=learner,
        source=online.source(config, objective, sampler, processes),
        plan=make_plan(config, bundle, max(1, rows // config.loop.micro_batches)),
        identity=identity_of(config, bundle, online.fingerprint, accelerator),
        online=online,
    )


def _counted(nets: Nets, tally: Tally) -> Nets:
    """Return the networks of a method that samples while it learns, the rows of all counted."""
    reference = None if nets.reference is None else tally.learned(nets.reference)
    return nets._replace(policy=tally.learned(nets.policy), reference=reference)


def effort_of(objective: AnyObjective) -> Effort | None:
    """Return what tells how far each prompt's images are inverted, if the method does that."""
    return objective.passes if isinstance(objective, PreferenceObjective) else None


def check_rows(config: RunConfig, cache: Cache) -> None:
    """Refuse rows the method cannot learn from.

    Raises:
        DataError: names the first such row.
    """
    name, unit = config.method.name, find_method(config.method.name).data
    for group in cache.groups:
        row, count = cache.rows[int(group.rows[0])], group.images
        if unit == "pairs" and count != 2:
            raise DataError(
                f"{name} learns from pairs, and this row has {count} images",
                where=row.where,
                hint="split ranked lists into pairs, or choose another method",
            )
        if unit == "lists" and count < 2:
            raise DataError(
                f"{name} learns from rankings, and this row has one image",
                where=row.where,
                hint="give at least two images per prompt, or choose method: sft",
            )
        if unit == "unpaired" and count != 1:
            raise DataError(
                f"{name} learns from single images, and this row has {count}",
                where=row.where,
                hint="set data.unpaired: true",
            )
        if unit == "images" and count == 1:
            _check_liked(name, cache, group.rows.tolist())


def _check_liked(name: str, cache: Cache, single: list[int]) -> None:
    """Refuse rows of single images that were not liked."""
    for row in (cache.rows[number] for number in single):
        if not row.scores[0] > 0:
            raise DataError(
                f"{name} would learn this disliked image as if it were liked",
                where=row.where,
                hint="leave disliked single images out, or choose method: diffusion_kto",
            )


def recalled(
    config: RunConfig,
    accelerator: Accelerator,
    bundle: Bundle,
    objective: AnyObjective,
    pairs: CachedPairs,
    *,
    rows_per_pass: int,
    progress: Progress | None,
) -> RecalledObjective:
    """Return the objective on kept points; every process computes its share of what is missing.

    Raises:
        ConfigError: the method's points cannot be kept.
    """
    if not isinstance(objective, PreferenceObjective):
        raise ConfigError(
            f"the points of {config.method.name} are its own rollouts",
            where="data.recall",
            hint="set data.recall: false",
        )
    shelf = shelf_of(config, bundle, pairs)
    reference = make_reference(config.reference, bundle, pairs)
    assert reference.net is not None  # check_fits has refused the kinds without one
    with reference.at_hand():
        fill(shelf, objective, reference.net, pairs, rows_per_pass=rows_per_pass, progress=progress)
    accelerator.wait_for_everyone()
    return RecalledObjective(
        objective=objective, shelf=open_shelf(shelf.folder), device=bundle.device
    )


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


def images_per_prompt(cache: Cache) -> int:
    return max(group.images for group in cache.groups)


def make_plan(config: RunConfig, bundle: Bundle, rows: int) -> LoopPlan:
    """Return the plan; `rows` are held at once unless the configuration says otherwise."""
    return LoopPlan(
        steps=config.loop.steps,
        rows_per_pass=config.loop.rows_per_pass or rows,
        save_every=config.save.every,
        keep=config.save.keep,
        log_every=config.log.every,
        validate_every=config.evaluate.every if config.evaluate else None,
        best_by=config.save.best_by,
        max_consecutive_skips=config.loop.max_consecutive_skips,
        length=len(bundle.schedule),
        keep_validated=bool(config.evaluate and config.evaluate.max_drift),
    )


LATER = (("adapter", "precision", "fp32"), ("optimizer", "in_backward", False))
"""Fields that older checkpoints do not have, and what they would say there."""


def _as_before(kept: dict[str, Any]) -> None:
    """Leave out what runs do not say that were begun before a field was there, at its default."""
    if kept["users"] is None:
        kept.pop("users")
    else:
        for name in ("prior", "vlm"):  # what decides their numbers is in the encoder's fingerprint
            kept["users"].pop(name)
    for section, name, usual in LATER:
        if kept[section][name] == usual:
            kept[section].pop(name)


def identity_of(
    config: RunConfig, bundle: Bundle, data: str, accelerator: Accelerator
) -> dict[str, object]:
    """Return what must not change between a checkpoint and the run that continues it.

    How often the run saves, logs and validates, and how many steps it takes, may change.
    """
    what = config.model_dump(mode="json")
    free = {"save", "log", "evaluate"}
    kept = {key: value for key, value in what.items() if key not in free}
    _as_before(kept)
    kept["loop"].pop("steps") if config.optimizer.schedule == "constant" else None
    for place in ("rows_per_pass", "rows_ahead"):
        kept["loop"].pop(place)
    if kept["data"] is not None:
        for place in ("cache", "source", "format"):
            kept["data"].pop(place)
    for place in (
        "device",
        "base",
        "attention",
        "gradient_checkpointing",
        "channels_last",
        "compile_blocks",
    ):
        kept["model"].pop(place)
    found = versions()
    return {
        "config": kept,
        "data": data,
        "model": bundle.fingerprint,
        "rng_scheme": RNG_SCHEME,
        "versions": {name: found[name] for name in ("torch", "diffusers", "peft")},
        "processes": accelerator.num_processes,
        "threads": torch.get_num_threads(),
    }
