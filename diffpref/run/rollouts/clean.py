"""The policy's own images with their rewards: online learning with any offline method."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from diffpref.draws import Draws
from diffpref.run.rollouts.asked import Prompts
from diffpref.run.rollouts.makers import Items
from diffpref.schedule import NoiseSchedule
from diffpref.steps import StepPlan
from diffpref.trajectories.walk import ended, walk
from diffpref.types import Denoiser, PreferenceBatch, PromptBatch, Reward, Unit

KINDS: dict[Unit, str] = {
    "pairs": "pairs of images",
    "lists": "lists of images",
    "images": "best images",
    "unpaired": "liked and disliked images",
}
"""What a method learns from -> what a round's items are called."""

Choose = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""([b K c h w] latents, [b K] rewards) -> [b k ...] latents and scores."""


@dataclass(frozen=True, kw_only=True)
class CleanMaker:
    """The policy's own images with their rewards, for any method on whole images."""

    unit: Unit
    k: int
    schedule: NoiseSchedule
    plan: StepPlan
    reward: Reward
    prompts: Prompts

    counted: str = "rollout.images"

    @property
    def kind(self) -> str:
        return KINDS[self.unit]

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.kind,)

    def make(self, net: Denoiser, batch: PromptBatch, draws: Draws, /) -> Items:
        x_0 = ended(walk(net, self.schedule, batch, draws, plan=self.plan, k=self.k))
        asked = tuple(prompt for prompt in batch.prompts for _ in range(self.k))
        reward = self.reward(x_0, None, asked).view(-1, self.k).cpu()
        latents = x_0.view(-1, self.k, *x_0.shape[1:]).cpu()
        latents, score = CHOICES[self.unit](latents, reward)
        each = len(score) // len(reward)
        return {
            "latents": latents,
            "score": score,
            "asked": batch.positions.repeat_interleave(each),
            "gap": (reward.amax(dim=1) - reward.amin(dim=1)).repeat_interleave(each),
            "reward": reward.mean(dim=1).repeat_interleave(each),
        }

    def chosen(self, items: Items, /) -> Int[Tensor, " m"]:
        """Return the items of prompts whose images do not all tie."""
        return (items["gap"] > 0).nonzero()[:, 0]

    def window(self, items: Items, positions: Int[Tensor, " b"], /) -> PreferenceBatch:
        batch = self.prompts.batch(items["asked"])
        return PreferenceBatch(
            latents=items["latents"].to(batch.noise),
            cond=batch.cond,
            score=items["score"].to(batch.noise.device),
            positions=positions,
            prompts=batch.prompts,
            uncond=batch.uncond,
        )


def best_and_worst(latents: Tensor, reward: Tensor) -> tuple[Tensor, Tensor]:
    rows = torch.arange(len(reward))
    ends = torch.stack([reward.argmax(dim=1), reward.argmin(dim=1)], dim=1)
    return latents[rows[:, None], ends], reward[rows[:, None], ends]


def whole_list(latents: Tensor, reward: Tensor) -> tuple[Tensor, Tensor]:
    return latents, reward


def best_only(latents: Tensor, reward: Tensor) -> tuple[Tensor, Tensor]:
    best = reward.argmax(dim=1)
    return latents[torch.arange(len(best)), best][:, None], reward.amax(dim=1)[:, None]


def singles(latents: Tensor, reward: Tensor) -> tuple[Tensor, Tensor]:
    """Like images above their prompt's mean reward, dislike the others."""
    liked = (reward > reward.mean(dim=1, keepdim=True)).to(reward.dtype)
    return latents.flatten(0, 1)[:, None], liked.flatten()[:, None]


CHOICES: dict[Unit, Choose] = {
    "pairs": best_and_worst,
    "lists": whole_list,
    "images": best_only,
    "unpaired": singles,
}
