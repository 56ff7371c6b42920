"""Whole walks from noise to image, every step an item: D3PO, DDPO, GRPO."""

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from diffpref.draws import Draws
from diffpref.run.rollouts.asked import Prompts
from diffpref.run.rollouts.makers import Items, joined
from diffpref.schedule import NoiseSchedule
from diffpref.steps import State, StepPlan, Transitions
from diffpref.trajectories.rollout import walk
from diffpref.types import Conditioning, Denoiser, PromptBatch, Reward
from diffpref.walk_objective import Walking


@dataclass(frozen=True, kw_only=True)
class WalkMaker:
    """Steps of walks: both walks of a pair at one step, or one step with its advantage."""

    walking: Walking
    schedule: NoiseSchedule
    plan: StepPlan
    reward: Reward
    prompts: Prompts

    def make(self, net: Denoiser, batch: PromptBatch, draws: Draws, /) -> Items:
        how, b = self.walking, len(batch)
        path = list(
            walk(
                net,
                self.schedule,
                batch,
                draws,
                plan=self.plan,
                k=how.k,
                same_start=how.same_start,
            )
        )
        asked = tuple(prompt for prompt in batch.prompts for _ in range(how.k))
        reward = self.reward(path[-1][2], None, asked).view(b, how.k).cpu()
        images, score = how.kept(reward)
        rows = (torch.arange(b)[:, None] * how.k + images).flatten()
        each = 2 if how.score == "pair" else 1
        spread = (reward.amax(dim=1) - reward.amin(dim=1)).repeat_interleave(len(rows) // b // each)
        mean = reward.mean(dim=1).repeat_interleave(len(rows) // b // each)
        positions = batch.positions.repeat_interleave(len(rows) // b // each)

        def items(state: State, mu: Tensor, x_s: Tensor) -> Items:
            def grouped(tensor: Tensor) -> Tensor:
                taken = tensor.cpu()[rows]
                return taken.view(-1, each, *taken.shape[1:])

            return {
                "x_t": grouped(state.x_t),
                "t": grouped(state.t),
                "s": grouped(state.s),
                "x_s": grouped(x_s),
                "mean": grouped(mu),
                "score": score.reshape(-1, each),
                "asked": positions,
                "gap": spread,
                "reward": mean,
            }

        last = len(path) - how.drop_last
        return joined(items(*step) for step in path[:last] if self._random(step[0]))

    def _random(self, state: State) -> bool:
        """Say whether the step has noise; one that has none has no likelihood."""
        return bool(self.schedule.transition(state.t[:1], state.s[:1], eta=self.plan.eta).std > 0)

    def chosen(self, items: Items, /) -> Int[Tensor, " m"]:
        """Return the steps of prompts whose images do not all tie."""
        return (items["gap"] > 0).nonzero()[:, 0]

    def window(self, items: Items, positions: Int[Tensor, " b"], /) -> Transitions:
        batch = self.prompts.batch(items["asked"])
        device, each = batch.noise.device, items["score"].shape[1]

        def told(cond: Conditioning) -> Conditioning:
            return cond.repeat_rows(each)

        guided = self.plan.guidance != 1 and batch.uncond is not None
        state = State(
            x_t=items["x_t"].flatten(0, 1).to(device),
            t=items["t"].flatten().to(device),
            s=items["s"].flatten().to(device),
            cond=told(batch.cond),
            uncond=told(batch.uncond) if guided and batch.uncond is not None else None,
        )
        return Transitions(
            state=state,
            x_s=items["x_s"].flatten(0, 1).to(device),
            mean=items["mean"].flatten(0, 1).to(device),
            score=items["score"].to(device),
            plan=self.plan,
            positions=positions,
        )
