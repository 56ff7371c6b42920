"""Prepares an online run on the untrained model, and its reward on that model's images."""

from dataclasses import replace
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from diffpref.config.schema import RewardConfig, RolloutConfig, RunConfig
from diffpref.draws import Draws
from diffpref.errors import ConfigError
from diffpref.evaluate.prompts import read_prompts
from diffpref.models import Bundle, make_denoiser
from diffpref.models.ladder import visited_levels
from diffpref.models.sample_settings import SampleSettings, image_size, images_at_once
from diffpref.run.rollouts.asked import Prompts
from diffpref.run.rollouts.online import FOLDER, Online, Watched
from diffpref.run.rollouts.reward import Judge, make_reward
from diffpref.run.rollouts.tally import Tally
from diffpref.steps import StepPlan
from diffpref.trajectories.walk import ended, walk


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
