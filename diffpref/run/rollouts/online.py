"""Everything an online run has in place of a cache: plan, prompts, reward, sampler, source."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from diffpref import references
from diffpref.catalogue import find_method
from diffpref.config.schema import RolloutConfig, RunConfig
from diffpref.errors import ConfigError
from diffpref.models import Bundle, make_denoiser, trainable_parameters
from diffpref.references import Reference
from diffpref.run.rollouts.asked import Prompts, digest
from diffpref.run.rollouts.clean import CleanMaker
from diffpref.run.rollouts.makers import Maker
from diffpref.run.rollouts.origin import origin_of
from diffpref.run.rollouts.replay import PromptWindows, Replay
from diffpref.run.rollouts.reward import Judge
from diffpref.run.rollouts.rounds import Rounds
from diffpref.run.rollouts.source import Progress, Rollouts
from diffpref.run.rollouts.step_pairs import StepPairMaker
from diffpref.run.rollouts.tally import Tally, added_up
from diffpref.run.rollouts.walks import WalkMaker
from diffpref.step_objective import StepObjective
from diffpref.steps import StepPlan
from diffpref.train.passes import measures_twice
from diffpref.train.processes import Processes
from diffpref.types import AnyObjective, Denoiser
from diffpref.walk_objective import GradedWalks, PairedWalks

FOLDER = "rollouts"


def _silent(*what: object) -> None:
    del what


@dataclass(frozen=True, kw_only=True)
class Watched:
    """Who is told of rollouts."""

    say: Callable[[str], None] = _silent
    progress: Progress = _silent


@dataclass(frozen=True, kw_only=True)
class Online:
    """What online training stands on. `reward` is standardised on the untrained policy's images."""

    config: RolloutConfig
    bundle: Bundle
    plan: StepPlan
    prompts: Prompts
    reward: Judge
    tally: Tally
    at_once: int
    folder: Path
    seed: int
    watched: Watched = field(default_factory=Watched)

    @property
    def fingerprint(self) -> str:
        """Identify what is asked and who judges."""
        return digest([*self.prompts.texts, self.reward.identity])

    def sampler(self) -> tuple[Denoiser, Reference | None]:
        """Return who samples, and how it follows the policy if it is an average."""
        policy = make_denoiser(self.bundle.unet, self.bundle)
        how = self.config.sampler
        if how.kind == "policy":
            return policy, None
        live = trainable_parameters(self.bundle.unet)
        own = references.copies(live)
        follow = references.ema(
            references.borrowed(policy, references.loan(own, live)),
            own=own,
            live=live,
            decay=how.decay,
            refresh_every=how.refresh_every,
        )
        assert follow.net is not None
        return follow.net, follow

    def source(
        self, config: RunConfig, objective: AnyObjective, sampler: Denoiser, processes: Processes
    ) -> Any:
        """Return the source of windows for this objective."""
        world, rank = processes.num_processes, processes.process_index
        self.tally.everyone = partial(added_up, processes)
        if find_method(config.method.name).data == "prompts":
            return PromptWindows(
                prompts=self.prompts,
                per_step=self.config.per_step,
                tally=self.tally,
                rank=rank,
                world=world,
            )
        folder = self.folder if self.config.frozen is None else Path(self.config.frozen)
        maker = self._maker(config, objective)
        rollouts = Rollouts(
            prompts=self.prompts,
            maker=maker,
            rounds=Rounds(folder=folder, keep=config.save.every * (config.save.keep + 1) + 1),
            sampler=sampler,
            seed=self.seed,
            per_step=self.config.per_step,
            passes=self.config.passes,
            at_once=self.at_once,
            tally=self.tally,
            cost=partial(self._cost, config, objective, world),
            gather=processes.gather,
            origin=origin_of(config, self.prompts, self.plan, maker, self.reward.identity),
            rank=rank,
            world=world,
            say=self.watched.say,
            progress=self.watched.progress,
        )
        return rollouts if self.config.frozen is None else Replay(rollouts=rollouts)

    def _cost(self, config: RunConfig, objective: AnyObjective, world: int, items: int) -> int:
        """Return the rows of the networks that a process's items of one step take."""
        rows = rows_per_step(self.config, config.method.name, objective)
        mine = items * (rows // self.config.per_step)
        at_once = max(1, rows // world // config.loop.micro_batches)
        passes = 3 + (config.reference.kind != "none")  # a backward counts as two forwards
        passes += measures_twice(
            objective, rows=mine, prompts=items, size=config.loop.rows_per_pass or at_once
        )
        old = config.method.name == "nft"
        guided = isinstance(objective, StepObjective | PairedWalks | GradedWalks)
        return mine * (passes + old) * (2 if guided and self.plan.guidance != 1 else 1)

    def _check_push(self, objective: StepObjective) -> None:
        if objective.branching.push and not self.reward.differentiable:
            raise ConfigError(
                f"{self.reward.name} has no gradient to push winners along",
                where="method.push",
                hint="set method.push: 0, or choose a differentiable reward",
            )

    def _maker(self, config: RunConfig, objective: AnyObjective) -> Maker:
        about: dict[str, Any] = {
            "schedule": self.bundle.schedule,
            "plan": self.plan,
            "reward": self.reward,
            "prompts": self.prompts,
        }
        if isinstance(objective, StepObjective):
            self._check_push(objective)
            clamped = objective.clamp is not None
            return StepPairMaker(branching=objective.branching, clamped=clamped, **about)
        if isinstance(objective, PairedWalks | GradedWalks):
            return WalkMaker(walking=objective.walking, **about)
        return CleanMaker(unit=find_method(config.method.name).data, k=self.config.images, **about)


def rows_per_step(config: RolloutConfig, method: str, objective: AnyObjective) -> int:
    """Return how many rows the networks see in one optimizer step, over all processes."""
    if isinstance(objective, PairedWalks):
        return 2 * config.per_step
    each = {"pairs": 2, "lists": config.images}.get(find_method(method).data, 1)
    return config.per_step * each
