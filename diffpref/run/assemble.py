"""Puts a run together: model, adapter, reference, objective, data, loop."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

from accelerate import Accelerator

from diffpref.catalogue import build_objective, find_method
from diffpref.config.schema import RunConfig
from diffpref.data.batches import CachedPairs, Effort
from diffpref.data.cache import Cache
from diffpref.data.personal import Personal
from diffpref.models import Bundle, embedder_of
from diffpref.objective import PreferenceObjective
from diffpref.references import Reference, together
from diffpref.run.data import windows_of
from diffpref.run.fsdp import shard_policy
from diffpref.run.identity import identity_of
from diffpref.run.learner import make_learner
from diffpref.run.recall import memory
from diffpref.run.references import make_reference
from diffpref.run.remember import Progress, recalled
from diffpref.run.rollouts.online import Online, rows_per_step
from diffpref.run.rollouts.tally import Tally
from diffpref.run.rows import check_rows, images_per_prompt
from diffpref.run.users import make_users
from diffpref.toolkit import Toolkit
from diffpref.train.plan import LoopPlan
from diffpref.train.processes import Processes
from diffpref.train.shards import Shards
from diffpref.train.step import Learner
from diffpref.types import AnyObjective, Nets, Source


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
    objective = _objective(config, bundle)
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
    rows, given = plan.rows_per_pass, (config, accelerator, bundle, objective, source)
    if data.recall:
        objective = recalled(*given, rows_per_pass=rows, progress=progress)
    # split only now: what was built so far looked at whole weights
    shards = shard_policy(config, bundle, processes=accelerator.num_processes)
    reference = _reference(config, bundle, source, shards)
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


def _reference(
    config: RunConfig, bundle: Bundle, source: CachedPairs, shards: Shards[Any] | None
) -> Reference:
    if config.data is not None and config.data.recall:
        return Reference(net=memory)
    return make_reference(config.reference, bundle, source, shards)


def _objective(config: RunConfig, bundle: Bundle) -> AnyObjective:
    kit = Toolkit(schedule=bundle.schedule, embedder=embedder_of(bundle))
    method = config.method
    return build_objective(method.name, kit, method.settings, config.parts)


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
