"""Where a run begins: anew, or at a checkpoint whose identity is this run's; and its trackers."""

from collections.abc import Sequence
from secrets import token_hex

from accelerate import Accelerator

from diffpref.config.schema import RunConfig
from diffpref.errors import CheckpointError
from diffpref.run.assemble import Assembled
from diffpref.run.model import available_trackers
from diffpref.run.watch import Watch
from diffpref.train.identity import check_identity
from diffpref.train.manifest import Checkpoint
from diffpref.train.plan import LoopState
from diffpref.train.snapshot import restore
from diffpref.train.store import Store


def found_checkpoint(store: Store, resume: str | None) -> Checkpoint | None:
    """Return the checkpoint to go on from, None for a new run.

    Raises:
        CheckpointError: a new run's folder holds another's checkpoints, or none is sound.
    """
    if resume is None:
        if store.latest() is not None:
            raise CheckpointError(
                "this folder holds checkpoints of an earlier run",
                where=str(store.folder.parent),
                hint="add --resume auto to go on with it, or choose another --out",
            )
        return None
    return store.latest() if resume == "auto" else store.open(resume)


def abandon_newer(store: Store, step: int, watch: Watch) -> None:
    """Set aside checkpoints of the future the user goes back from; they would win `auto` later."""
    for path in sorted(store.folder.glob("step-*")):
        if int(path.name.removeprefix("step-")) > step:
            aside = path.with_name(f"abandoned-{path.name}-{token_hex(2)}")
            path.rename(aside)
            watch.say(f"{path.name} is newer than the checkpoint to continue: now {aside.name}")


def started(
    run: Assembled, found: Checkpoint | None, allow: Sequence[str], watch: Watch
) -> LoopState:
    """Return where the loop begins, the learner put back as the checkpoint has it.

    Raises:
        CheckpointError: it is of another run, and what differs is not allowed to.
    """
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


def start_trackers(config: RunConfig, accelerator: Accelerator, watch: Watch) -> None:
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
