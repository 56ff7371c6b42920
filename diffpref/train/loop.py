"""The loop: windows in, steps out, checkpoints that survive, and health on the way."""

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar, cast

from diffpref.errors import DivergedError, Preempted
from diffpref.train.health import Health, finite
from diffpref.train.log import RunLog
from diffpref.train.plan import Hooks, LoopPlan, LoopState
from diffpref.train.snapshot import restore, snapshot
from diffpref.train.step import Learner, StepResult, fitting_step
from diffpref.train.store import Store
from diffpref.types import Source

B = TypeVar("B")


@dataclass(frozen=True, kw_only=True)
class Loop:
    """A run in progress."""

    learner: Learner[Any]
    source: Source[Any]
    plan: LoopPlan
    store: Store
    identity: Mapping[str, object]
    log: RunLog
    hooks: Hooks = field(default_factory=Hooks)

    def run(self, state: LoopState) -> LoopState:
        """Train from `state.step` to `plan.steps`, or till it is enough; leave a checkpoint then.

        Raises:
            DivergedError: numbers stay non-finite after the last good checkpoint was restored.
            Preempted: a stop was asked for; the state is saved.
            DiskError: the last checkpoint cannot be written.
        """
        health = Health(length=self.plan.length, accuracy=state.accuracy)
        began = time.monotonic() - state.seconds
        windows = iter(self.source(self.learner.nets, state.step))
        while state.step < self.plan.steps and not state.ended:
            window = next(windows)
            rows = state.rows_per_pass or self.plan.rows_per_pass
            result, fitted = fitting_step(self.learner, window, window.positions, state.step, rows)
            state.rows_per_pass = fitted if fitted != self.plan.rows_per_pass else None
            self._account(state, result, window, health)
            state.step += 1
            state.seconds = time.monotonic() - began
            self._report(state, result, health)
            best = self._validate(state)
            self._save(state, best)
            if self._asked_to_stop() and state.step < self.plan.steps and not state.ended:
                self._write(state, best=False)
                raise Preempted(
                    f"stopped at step {state.step} of {self.plan.steps}; everything is saved",
                    where=str(self.store.folder.parent),
                    hint=f"go on with: diffpref train {self.store.folder.parent} --resume auto",
                )
        return state

    def _account(self, state: LoopState, result: StepResult, window: Any, health: Health) -> None:
        """Count a good step, or log a bad one and act when they come in a row."""
        if result.applied:
            state.skips = 0
            self.hooks.measured(state.step, result.loss.metrics)
            health.add(result.loss.metrics, self.learner.processes.gather)
            state.accuracy = health.accuracy
            return
        state.skipped_steps += 1
        metrics = {
            name: [float(each) for each in value] for name, value in result.loss.metrics.items()
        }
        values: dict[str, object] = {
            "loss": float(result.loss.value),
            "grad_norm": result.grad_norm,
            "excused": result.excused,
            "positions": [int(each) for each in window.positions],
        }
        self.log.anomaly(state.step, _plain({**values, **metrics}))
        state.skips += not result.excused
        if state.skips >= self.plan.max_consecutive_skips:
            self._recover(state)

    def _recover(self, state: LoopState) -> None:
        """Go back to the newest checkpoint's weights once, keeping the place in the data."""
        found = None if state.restored else self.store.latest()
        if found is None:
            again = "again after the last good checkpoint was restored" if state.restored else ""
            raise DivergedError(
                f"{state.skips} steps in a row were not finite {again}".strip(),
                where=f"step {state.step}",
                hint="lower optimizer.lr, or look at anomalies.jsonl for the prompts",
            )
        restore(self.learner, found)
        state.restored, state.skips = True, 0
        self.log.anomaly(state.step, {"restored": found.step})

    def _report(self, state: LoopState, result: StepResult, health: Health) -> None:
        due = state.step % self.plan.log_every == 0 or state.step == self.plan.steps
        values: dict[str, object] = {"lr": result.lr, "grad_norm": result.grad_norm}
        if due and health.prompts:
            values |= health.report()
            values["seconds"] = round(state.seconds, 3)
            values["skipped_steps"] = state.skipped_steps
            values |= self.learner.reference.report()
            values |= self.hooks.report()
            self.log.metrics(state.step, finite(values))
        self.hooks.on_step(state.step, values)

    def _validate(self, state: LoopState) -> bool:
        """Validate when due; say whether this is the best so far."""
        every = self.plan.validate_every
        if every is None or (state.step % every and state.step != self.plan.steps):
            return False
        ema = self.learner.ema
        if ema is None:
            metrics = self.hooks.validate(state.step)
        else:
            with ema.swapped():
                metrics = self.hooks.validate(state.step)
        self.log.metrics(state.step, finite(dict(metrics)))
        self.hooks.on_step(state.step, metrics)
        state.ended = self._anywhere(self.hooks.enough())
        return not state.ended and self._anywhere(self._improved(state, metrics))

    def _improved(self, state: LoopState, metrics: Mapping[str, float]) -> bool:
        if self.plan.best_by is None:
            return self.plan.keep_validated
        value = metrics.get(self.plan.best_by)  # only the main process has metrics
        better = value is not None and (state.best is None or value > state.best)
        if value is not None and better:
            state.best = float(value)
        return better

    def _save(self, state: LoopState, best: bool) -> None:
        last = state.ended or state.step == self.plan.steps
        if best or last or state.step % self.plan.save_every == 0:
            self._write(state, best=best)

    def _write(self, state: LoopState, *, best: bool) -> None:
        processes = self.learner.processes
        if self.learner.scaler is not None:
            state.scaler = dict(self.learner.scaler.state_dict())
        files = snapshot(self.learner)  # every process gives its share
        if processes.is_main_process:
            self.store.save(
                state.step,
                files=files,
                state=asdict(state),
                identity=self.identity,
                keep=self.plan.keep,
                best=best,
            )
        processes.wait_for_everyone()

    def _asked_to_stop(self) -> bool:
        return self._anywhere(self.hooks.stop())

    def _anywhere(self, here: bool) -> bool:
        """Ask every process, so that all of them save or stop at the same step."""
        import torch

        processes = self.learner.processes
        mine = torch.tensor([float(here)], device=processes.device)
        return bool(processes.gather(mine).any())


def _plain(values: Mapping[str, object]) -> dict[str, object]:
    """Return the values with non-finite numbers as text, which JSON can hold."""

    def plain(value: object) -> object:
        odd = isinstance(value, float) and not math.isfinite(value)
        return str(value) if odd else value

    return {
        name: [plain(each) for each in cast(list[object], value)]
        if isinstance(value, list)
        else plain(value)
        for name, value in values.items()
    }
