"""Runs a configuration from start, or from its newest checkpoint, to the exported result."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from secrets import token_hex

import torch
from accelerate import Accelerator

from diffpref.config import dump_config
from diffpref.config.schema import RunConfig
from diffpref.data.cache import Cache
from diffpref.errors import CheckpointError
from diffpref.io import write_atomic
from diffpref.models import Bundle
from diffpref.models.place import at_hand, beside, waiting
from diffpref.run.assemble import Assembled, assemble, assemble_online
from diffpref.run.data import Progress, cache_of
from diffpref.run.export import export
from diffpref.run.facts import write_facts
from diffpref.run.first_update import first_update
from diffpref.run.folder import CHECKPOINTS, CONFIG, write_environment
from diffpref.run.fsdp import whole_bundle
from diffpref.run.model import available_trackers, load_model, make_accelerator
from diffpref.run.rollouts.online import Watched
from diffpref.run.rollouts.open import open_online
from diffpref.run.validate import Validator
from diffpref.run.validate_users import UserValidator
from diffpref.train.identity import check_identity
from diffpref.train.lock import RunLock
from diffpref.train.log import RunLog
from diffpref.train.loop import Loop
from diffpref.train.manifest import Checkpoint
from diffpref.train.plan import Hooks, LoopState
from diffpref.train.signals import StopSignals
from diffpref.train.snapshot import restore
from diffpref.train.store import Store

Validates = Validator | UserValidator


def _unwatched(*what: object) -> None:
    del what


@dataclass(frozen=True, kw_only=True)
class Watch:
    """How a run is watched; every function may be called often.

    caching: rows cached, rows in all if known. remembering: draws kept to be recalled, draws in
    all. sampling: prompts of a round sampled, prompts in all. assembled: the run before its first
    step. step: finished steps and the latest numbers. say: a sentence for the user.
    """

    caching: Progress | None = None
    remembering: Callable[[int, int | None], None] | None = None
    sampling: Callable[[int, int | None], None] | None = None
    assembled: Callable[[Assembled], None] = _unwatched
    step: Callable[[int, dict[str, object]], None] = _unwatched
    say: Callable[[str], None] = _unwatched


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
        found = _checkpoint(store, resume)
        if found is not None and accelerator.is_main_process:
            _abandon_newer(store, found.step, watch)
        bundle = load_model(config, accelerator)
        run = _assembled(config, accelerator, bundle, folder, watch)
        if run.cache is not None:
            stack.callback(run.cache.close)
        state = _start(run, found, allow, watch)
        _record(config, folder, accelerator, run)  # a refused continuation leaves the old record
        log = RunLog(folder=folder, processes=run.learner.processes)
        log.resume(state.step)
        _start_trackers(config, accelerator, watch)
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
            hooks=Hooks(
                on_step=lambda step, values: watch.step(step, dict(values)),
                measured=first_update(run, watch.say),
                validate=partial(_validated, validate, bundle),
                enough=lambda: validate.enough,
                stop=lambda: stop.requested,
                report=getattr(run.source, "report", dict[str, float]),
            ),
        )
        state = loop.run(state)
        kept = _kept(run, store, state, watch)
        _export(run, kept, folder, accelerator)
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


def _checkpoint(store: Store, resume: str | None) -> Checkpoint | None:
    if resume is None:
        if store.latest() is not None:
            raise CheckpointError(
                "this folder holds checkpoints of an earlier run",
                where=str(store.folder.parent),
                hint="add --resume auto to go on with it, or choose another --out",
            )
        return None
    return store.latest() if resume == "auto" else store.open(resume)


def _abandon_newer(store: Store, step: int, watch: Watch) -> None:
    """Set aside checkpoints of the future the user goes back from; they would win `auto` later."""
    for path in sorted(store.folder.glob("step-*")):
        if int(path.name.removeprefix("step-")) > step:
            aside = path.with_name(f"abandoned-{path.name}-{token_hex(2)}")
            path.rename(aside)
            watch.say(f"{path.name} is newer than the checkpoint to continue: now {aside.name}")


def _start(
    run: Assembled, found: Checkpoint | None, allow: Sequence[str], watch: Watch
) -> LoopState:
    if found is None:
        return LoopState()
    for sentence in check_identity(found.identity, run.identity, allow):
        watch.say(f"allowed change: {sentence}")
    restore(run.learner, found)
    state = LoopState(**found.state)  # pyright: ignore[reportArgumentType]
    if state.scaler is not None and run.learner.scaler is not None:
        run.learner.scaler.load_state_dict(state.scaler)
    watch.say(f"resumed from {found.path.name}")
    if state.ended:
        watch.say(
            f"this run ended early at step {state.step}; to go on, raise evaluate.max_drift and "
            "resume an older checkpoint"
        )
    return state


def _start_trackers(config: RunConfig, accelerator: Accelerator, watch: Watch) -> None:
    """Start trackers; one that cannot start is reported and the run goes on without it."""
    missing = [name for name in config.log.trackers if name not in available_trackers()]
    for name in missing:
        watch.say(
            f"log.trackers: {name} is not installed: pip install {name}; metrics.jsonl is kept"
        )
    if len(missing) == len(config.log.trackers):
        return
    try:
        accelerator.init_trackers("diffpref")
    except Exception as error:  # a tracker is somebody else's code and must not stop a run
        accelerator.trackers = []
        watch.say(f"trackers are off: {type(error).__name__}: {error}")


def _kept(run: Assembled, store: Store, state: LoopState, watch: Watch) -> Checkpoint | None:
    """Return the checkpoint to export: the best by `save.best_by`, or before the drift was too far.

    None is the last weights.
    """
    best = store.best() if run.config.save.best_by or state.ended else None
    if best is not None:
        watch.say(f"exporting the best checkpoint, {best.path.name}")
    elif state.ended:
        watch.say(
            f"no validation was within the limit: exporting the drifted weights of step "
            f"{state.step}; lower evaluate.every to stop sooner"
        )
    return best


def _export(
    run: Assembled, kept: Checkpoint | None, folder: Path, accelerator: Accelerator
) -> None:
    """Export this checkpoint, or the weights as they are (their average when there is one)."""
    if kept is not None:
        restore(run.learner, kept)
    with ExitStack() as stack:
        if run.learner.ema is not None:
            stack.enter_context(run.learner.ema.swapped())
        bundle = whole_bundle(run.bundle, run.shards, keep=accelerator.is_main_process)
        if accelerator.is_main_process:
            export(folder, bundle, None if run.users is None else run.users.encode)
    accelerator.wait_for_everyone()
