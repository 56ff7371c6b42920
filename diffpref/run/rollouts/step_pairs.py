"""Pairs of candidates of one state, made by branched rollouts."""

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from diffpref.draws import Draws
from diffpref.run.rollouts.asked import Prompts
from diffpref.run.rollouts.makers import Items, joined
from diffpref.schedule import NoiseSchedule
from diffpref.step_objective import Branching
from diffpref.steps import State, StepPairs, StepPlan
from diffpref.trajectories.displace import displacement
from diffpref.trajectories.rollout import Branch, branched
from diffpref.trajectories.stepping import one_noise
from diffpref.types import Denoiser, PromptBatch, Reward

STEPS = "pairs of steps"
STEPS_AND_MEANS = "pairs of steps and their means"


@dataclass(frozen=True, kw_only=True)
class StepPairMaker:
    """Pairs of candidates of one state, for `StepObjective`; their noise is drawn again."""

    branching: Branching
    clamped: bool
    schedule: NoiseSchedule
    plan: StepPlan
    reward: Reward
    prompts: Prompts

    counted: str = "method.k"

    @property
    def kind(self) -> str:
        return STEPS_AND_MEANS if self.clamped else STEPS

    @property
    def reads(self) -> tuple[str, ...]:
        """Return the kinds: whoever does not clamp needs no means."""
        return (STEPS_AND_MEANS,) if self.clamped else (STEPS, STEPS_AND_MEANS)

    @property
    def k(self) -> int:
        return self.branching.k

    def make(self, net: Denoiser, batch: PromptBatch, draws: Draws, /) -> Items:
        how = self.branching
        push = None
        if how.push:
            push = displacement(
                net, self.schedule, self.reward, batch.prompts, plan=self.plan, push=how.push
            )
        branches = branched(
            net,
            self.schedule,
            batch,
            self.reward,
            draws,
            plan=self.plan,
            k=how.k,
            continue_from=how.continue_from,
            start=how.plain(len(self.plan.levels)),
            skip_last=how.skip_last,
            displace=push,
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
        gap = items["gap"]
        spread = torch.zeros_like(gap)
        for t in items["t"].unique():
            here = items["t"] == t
            spread[here] = gap[here].std() if int(here.sum()) > 1 else 0.0
        keeps = self.branching.keeps(
            gap, spread, schedule=self.schedule, plan=self.plan, t=items["t"], s=items["s"]
        )
        return keeps.nonzero()[:, 0]

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
            one_noise(
                self.prompts.seed, int(asked), numbers[int(t)], self.prompts.shape, int(chosen)
            )
            for asked, t, chosen in zip(items["asked"], items["t"], items[name], strict=True)
        ]
        return torch.stack(rows)
