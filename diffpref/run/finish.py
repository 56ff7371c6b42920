"""What is left when a run has ended: the best checkpoint, or the last weights, exported."""

from contextlib import ExitStack
from pathlib import Path

from accelerate import Accelerator

from diffpref.run.assemble import Assembled
from diffpref.run.export import export
from diffpref.run.fsdp import whole_bundle
from diffpref.run.watch import Watch
from diffpref.train.manifest import Checkpoint
from diffpref.train.plan import LoopState
from diffpref.train.snapshot import restore
from diffpref.train.store import Store


def kept_checkpoint(
    run: Assembled, store: Store, state: LoopState, watch: Watch
) -> Checkpoint | None:
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


def export_kept(
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
