"""Runs a configuration from start, or from its newest checkpoint, to the exported result."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import torch
from accelerate import Accelerator

from diffpref.config import dump_config
from diffpref.config.schema import RunConfig
from diffpref.data.cache import Cache
from diffpref.io import write_atomic
from diffpref.models import Bundle
from diffpref.models.place import at_hand, beside, waiting
from diffpref.run.assemble import Assembled, assemble, assemble_online
from diffpref.run.data import cache_of
from diffpref.run.facts import write_facts
from diffpref.run.finish import export_kept, kept_checkpoint
from diffpref.run.first_update import first_update
from diffpref.run.folder import CHECKPOINTS, CONFIG, write_environment
from diffpref.run.model import load_model, make_accelerator
from diffpref.run.rollouts.online import Watched
from diffpref.run.rollouts.open import open_online
from diffpref.run.start import abandon_newer, found_checkpoint, start_trackers, started
from diffpref.run.validate import Validator
from diffpref.run.validate_users import UserValidator
from diffpref.run.watch import Watch
from diffpref.train.lock import RunLock
from diffpref.train.log import RunLog
from diffpref.train.loop import Loop
from diffpref.train.plan import Hooks
from diffpref.train.signals import StopSignals
from diffpref.train.store import Store

Validates = Validator | UserValidator


def execute(
    config: RunConfig,
    folder: Path | str,
    *,
    resume: str | None = None,
    allow: Sequence[str] = (),
    watch: Watch | None = None,
) -> Path:
    """Train as the configuration says and export the result into the folder.

    Args:
        config: what to run.
        folder: the run folder, made when missing.
        resume: None starts anew; `auto` takes the newest sound checkpoint, if there ever was one;
            a path takes exactly that checkpoint.
        allow: identity fields that may differ from the checkpoint's.
        watch: who watches.

    Returns:
        The run folder.

    Raises:
        DiffprefError: anything the user can act on.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    accelerator = make_accelerator(config, folder)
    watch = watch if watch is not None and accelerator.is_main_process else Watch()
    with ExitStack() as stack:
        if accelerator.is_main_process:
            stack.enter_context(RunLock(folder))
        stop = stack.enter_context(StopSignals())
        store = Store(folder / CHECKPOINTS, log=watch.say)
        if accelerator.is_main_process:
            store.prepare()
        found = found_checkpoint(store, resume)
        if found is not None and accelerator.is_main_process:
            abandon_newer(store, found.step, watch)
        bundle = load_model(config, accelerator)
        run = _assembled(config, accelerator, bundle, folder, watch)
        if run.cache is not None:
            stack.callback(run.cache.close)
        state = started(run, found, allow, watch)
        _record(config, folder, accelerator, run)  # a refused continuation leaves the old record
        log = RunLog(folder=folder, processes=run.learner.processes)
        log.resume(state.step)
        start_trackers(config, accelerator, watch)
        watch.assembled(run)
        validate = _validator(run, folder, accelerator, watch)
        if run.cache is not None:
            stack.enter_context(waiting(beside(bundle)))
        loop = Loop(
            learner=run.learner,
            source=run.source,
            plan=run.plan,
            store=store,
            identity=run.identity,
            log=log,
            hooks=_hooks(run, validate, stop, watch),
        )
        state = loop.run(state)
        export_kept(run, kept_checkpoint(run, store, state, watch), folder, accelerator)
        accelerator.end_training()
        return folder


def _assembled(
    config: RunConfig, accelerator: Accelerator, bundle: Bundle, folder: Path, watch: Watch
) -> Assembled:
    """Build the run on cached data, or on the policy's own samples."""
    if config.rollout is None:
        cache = _cached(config, bundle, accelerator, watch)
        return assemble(config, accelerator, bundle, cache, watch.remembering)
    watched = Watched(say=watch.say, progress=watch.sampling or Watched().progress)
    world = accelerator.num_processes
    online = open_online(config, bundle, folder, world=world, watched=watched)
    return assemble_online(config, accelerator, bundle, online)


def precompute(config: RunConfig, watch: Watch | None = None) -> Path:
    """Compute and keep the points a run with `data.recall` learns from; repeat it to resume.

    Returns:
        The cache folder.

    Raises:
        ConfigError: the method's points cannot be kept.
    """
    assert config.data is not None  # check_fits: only data are recalled
    watch, cache_folder = watch or Watch(), Path(config.data.cache)
    accelerator = make_accelerator(config, cache_folder)
    bundle = load_model(config, accelerator)
    cache = _cached(config, bundle, accelerator, watch)
    try:
        assemble(config, accelerator, bundle, cache, watch.remembering)
    finally:
        cache.close()
    return cache_folder


def _validator(run: Assembled, folder: Path, accelerator: Accelerator, watch: Watch) -> Validates:
    """Return what validates: with users, whether it learns them; else images against the base's."""
    if run.users is not None:
        return UserValidator(run=run, accelerator=accelerator)
    return Validator(run=run, folder=folder, accelerator=accelerator, say=watch.say)


def _hooks(run: Assembled, validate: Validates, stop: StopSignals, watch: Watch) -> Hooks:
    """Return what the loop calls on its way."""
    return Hooks(
        on_step=lambda step, values: watch.step(step, dict(values)),
        measured=first_update(run, watch.say),
        validate=partial(_validated, validate, run.bundle),
        enough=lambda: validate.enough,
        stop=lambda: stop.requested,
        report=getattr(run.source, "report", dict[str, float]),
    )


def _validated(validate: Validates, bundle: Bundle, step: int) -> Mapping[str, float]:
    with at_hand(bundle):
        return validate(step)


def _record(config: RunConfig, folder: Path, accelerator: Accelerator, run: Assembled) -> None:
    if accelerator.is_main_process:
        write_atomic(folder / CONFIG, dump_config(config))
        write_environment(
            folder,
            device=accelerator.device.type,
            threads=torch.get_num_threads(),
            processes=accelerator.num_processes,
            sharded=run.shards is not None,
        )
        write_facts(folder, run)


def _cached(config: RunConfig, bundle: Bundle, accelerator: Accelerator, watch: Watch) -> Cache:
    """Cache the data; the main process encodes first, the others then find it done."""
    assert config.data is not None  # check_fits
    with accelerator.main_process_first(), waiting([bundle.unet]):
        return cache_of(config.data, bundle, config.seed, watch.caching)
