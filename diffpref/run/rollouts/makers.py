"""From prompts to items of a round, and from items to the windows an objective learns from."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Int
from torch import Tensor

from diffpref.draws import Draws
from diffpref.run.rollouts.asked import Prompts
from diffpref.schedule import NoiseSchedule
from diffpref.step_objective import Branching
from diffpref.steps import State, StepPairs, StepPlan
from diffpref.trajectories.rollout import Branch, branched, stream, walk
from diffpref.types import Denoiser, PreferenceBatch, PromptBatch, Reward, Unit

Items = dict[str, Tensor]
"""Tensors of equal length, one row per item, on the CPU."""


@runtime_checkable
class Maker(Protocol):
    """Makes one kind of item.

    make: sample the prompts' share of a round. chosen: which items are worth learning from.
    window: items with the positions that key their draws -> what an objective takes.
    """

    def make(self, net: Denoiser, batch: PromptBatch, draws: Draws, /) -> Items: ...

    def chosen(self, items: Items, /) -> Int[Tensor, " m"]: ...

    def window(self, items: Items, positions: Int[Tensor, " b"], /) -> Any: ...


@dataclass(frozen=True, kw_only=True)
class StepPairMaker:
    """Pairs of candidates of one state, for `StepObjective`; their noise is drawn again."""

    branching: Branching
    clamped: bool
    schedule: NoiseSchedule
    plan: StepPlan
    reward: Reward
    prompts: Prompts

    def make(self, net: Denoiser, batch: PromptBatch, draws: Draws, /) -> Items:
        how = self.branching
        branches = branched(
            net,
            self.schedule,
            batch,
            self.reward,
            draws,
            plan=self.plan,
            k=how.k,
            continue_from=how.continue_from,
            start=round(how.start * len(self.plan.levels)),
            skip_last=how.skip_last,
        )
        return joined(self._items(branch, batch.positions) for branch in branches)

    def _items(self, branch: Branch, positions: Int[Tensor, " b"]) -> Items:
        rows = torch.arange(len(positions))
        best, worst = branch.best.cpu(), branch.worst.cpu()
        reward = branch.reward.cpu()
        items = {
            "x_t": branch.state.x_t,
            "t": branch.state.t,
            "s": branch.state.s,
            "asked": positions,
            "winner": best,
            "loser": worst,
            "gap": reward[rows, best] - reward[rows, worst],
            "reward": reward.mean(dim=1),
        }
        if self.clamped:
            items["mean"] = branch.mean
        if branch.moved is not None:
            items["moved"] = branch.moved - branch.x_s[rows, branch.best]
        return {name: tensor.detach().cpu() for name, tensor in items.items()}

    def chosen(self, items: Items, /) -> Int[Tensor, " m"]:
        """Return the pairs whose gap passes the filter at their step."""
        good = torch.zeros(len(items["gap"]), dtype=torch.bool)
        for t in items["t"].unique():
            here = items["t"] == t
            gap = items["gap"][here]
            spread = gap.std() if len(gap) > 1 else torch.zeros(())
            good[here] = (gap > 0) & (gap > self.branching.min_gap * spread)
        return good.nonzero()[:, 0]

    def window(self, items: Items, positions: Int[Tensor, " b"], /) -> StepPairs:
        batch = self.prompts.batch(items["asked"])
        device = batch.noise.device
        state = State(
            x_t=items["x_t"].to(device),
            t=items["t"].to(device),
            s=items["s"].to(device),
            cond=batch.cond,
            uncond=batch.uncond if self.plan.guidance != 1 else None,
        )
        move = self.schedule.transition(state.t, state.s, eta=self.plan.eta)
        std = move.std.to(state.x_t).view(-1, 1, 1, 1)
        winner, loser = (self._noise(items, name).to(state.x_t) for name in ("winner", "loser"))
        if "moved" in items:
            winner = winner + items["moved"].to(state.x_t) / std
        mid = None
        if self.clamped:
            mid = items["mean"].to(state.x_t) + std * (winner + loser) / 2
        return StepPairs(
            state=state,
            dz=winner - loser,
            mid=mid,
            gap=items["gap"][:, None].to(state.x_t),
            plan=self.plan,
            positions=positions,
        )

    def _noise(self, items: Items, name: str) -> Tensor:
        """Draw again the noise of each pair's winner or loser."""
        numbers = {t: number for number, (t, _) in enumerate(self.plan.levels)}
        rows = [
            Draws(self.prompts.seed, asked[None]).normal(
                stream(numbers[int(t)]), self.prompts.shape, images=self.branching.k
            )[0, int(chosen)]
            for asked, t, chosen in zip(items["asked"], items["t"], items[name], strict=True)
        ]
        return torch.stack(rows)


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

    def make(self, net: Denoiser, batch: PromptBatch, draws: Draws, /) -> Items:
        *_, (_, _, x_0) = walk(net, self.schedule, batch, draws, plan=self.plan, k=self.k)
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


def joined(parts: Iterator[Items]) -> Items:
    """Concatenate items."""
    every = list(parts)
    if not every:
        return {}
    return {name: torch.cat([each[name] for each in every]) for name in every[0]}
