"""Everything an online run has in place of a cache: plan, prompts, reward, sampler, source."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffpref import references
from diffpref.catalogue import find_method
from diffpref.config.schema import RewardConfig, RolloutConfig, RunConfig
from diffpref.draws import Draws
from diffpref.errors import ConfigError
from diffpref.evaluate.prompts import read_prompts
from diffpref.models import Bundle, make_denoiser, trainable_parameters
from diffpref.models.ladder import visited_levels
from diffpref.models.sample_settings import SampleSettings, image_size, images_at_once
from diffpref.references import Reference
from diffpref.run.rollouts.asked import Prompts, digest
from diffpref.run.rollouts.clean import CleanMaker
from diffpref.run.rollouts.makers import Maker
from diffpref.run.rollouts.origin import origin_of
from diffpref.run.rollouts.replay import PromptWindows, Replay
from diffpref.run.rollouts.reward import Judge, make_reward
from diffpref.run.rollouts.rounds import Rounds
from diffpref.run.rollouts.source import Progress, Rollouts
from diffpref.run.rollouts.step_pairs import StepPairMaker
from diffpref.run.rollouts.tally import Tally, added_up
from diffpref.run.rollouts.walks import WalkMaker
from diffpref.step_objective import StepObjective
from diffpref.steps import StepPlan
from diffpref.train.passes import measures_twice
from diffpref.train.processes import Processes
from diffpref.trajectories.walk import ended, walk
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


def open_online(
    config: RunConfig, bundle: Bundle, folder: Path, *, world: int, watched: Watched
) -> Online:
    """Prepare an online run on the untrained bundle.

    Raises:
        ConfigError: the round cannot be shared by the processes, or the reward is wrong.
        DataError: there are no such prompts.
    """
    rollout, reward = config.rollout, config.reward
    assert rollout is not None  # check_fits
    assert reward is not None  # check_fits
    _check_shared(rollout, world)
    settings = SampleSettings(height=rollout.resolution, width=rollout.resolution)
    height, width = image_size(bundle, settings)
    guidance = bundle.family.guidance if rollout.guidance is None else rollout.guidance
    plan = StepPlan(
        levels=visited_levels(bundle, rollout.steps), eta=rollout.eta, guidance=guidance
    )
    prompts = Prompts(
        texts=tuple(read_prompts(rollout.prompts)),
        bundle=bundle,
        seed=config.seed,
        per_round=rollout.prompts_per_round,
        height=height,
        width=width,
    )
    at_once = rollout.images_at_once or images_at_once(settings, height, width)
    tally = Tally()
    return Online(
        config=rollout,
        bundle=bundle,
        plan=plan,
        prompts=prompts,
        reward=replace(_standardised(reward, bundle, prompts, plan, at_once), tally=tally),
        tally=tally,
        at_once=max(1, at_once // rollout.images),
        folder=folder / FOLDER,
        seed=config.seed,
        watched=watched,
    )


def _check_shared(config: RolloutConfig, world: int) -> None:
    for name in ("prompts_per_round", "per_step"):
        count = getattr(config, name)
        if count % world:
            raise ConfigError(
                f"{count} cannot be shared by {world} processes",
                where=f"rollout.{name}",
                hint=f"make it a multiple of {world}",
            )


@torch.no_grad()
def _standardised(
    config: RewardConfig, bundle: Bundle, prompts: Prompts, plan: StepPlan, at_once: int
) -> Judge:
    """Return the reward whose zero and unit are those of images of the untrained policy.

    A noisy reward has those of its latents halfway down the plan: what is said of one level means
    nothing at another, and there most of what matters is decided but not yet clean.
    """
    reward = make_reward(config, bundle, Tally())
    net = make_denoiser(bundle.unet, bundle)
    middle = len(plan.levels) // 2 if reward.noisy else None
    scores: list[Tensor] = []
    for start in range(0, config.standardise, at_once):
        positions = torch.arange(start, min(start + at_once, config.standardise))
        batch = prompts.batch(positions)
        states = walk(net, bundle.schedule, batch, Draws(prompts.seed, positions), plan=plan)
        if middle is None:
            x, t = ended(states), None
        else:
            state, _, _ = next(islice(states, middle, None))
            x, t = state.x_t, state.t
        scores.append(reward(x, t, batch.prompts).cpu())
    return reward if not scores else reward.standardised(torch.cat(scores))
