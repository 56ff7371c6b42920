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
from diffpref.trajectories.stepping import one_noise
from diffpref.trajectories.walk import walk
from diffpref.types import Conditioning, Denoiser, Latents, PromptBatch, Reward
from diffpref.walk_objective import Walking


@dataclass(frozen=True, kw_only=True)
class WalkMaker:
    """Steps of walks: both walks of a pair at one step, or one step with its advantage.

    x_s is mu and noise that is drawn again, so of a step only x_t and mu are kept.
    """

    walking: Walking
    schedule: NoiseSchedule
    plan: StepPlan
    reward: Reward
    prompts: Prompts

    counted: str = "method.k"

    @property
    def kind(self) -> str:
        return "steps of paired walks" if self.walking.score == "pair" else "steps of graded walks"

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.kind,)

    @property
    def k(self) -> int:
        return self.walking.k

    def make(self, net: Denoiser, batch: PromptBatch, draws: Draws, /) -> Items:
        how, b = self.walking, len(batch)
        path, x_0 = self._walked(net, batch, draws)
        asked = tuple(prompt for prompt in batch.prompts for _ in range(how.k))
        reward = self.reward(x_0, None, asked).view(b, how.k).cpu()
        images, score = how.kept(reward)
        rows = (torch.arange(b)[:, None] * how.k + images).flatten()
        each = 2 if how.score == "pair" else 1
        per_prompt = len(rows) // b // each

        def grouped(tensor: Tensor) -> Tensor:
            return tensor[rows].view(-1, each, *tensor.shape[1:])

        about = {
            "image": images.reshape(-1, each),
            "score": score.reshape(-1, each),
            "asked": batch.positions.repeat_interleave(per_prompt),
            "gap": (reward.amax(dim=1) - reward.amin(dim=1)).repeat_interleave(per_prompt),
            "reward": reward.mean(dim=1).repeat_interleave(per_prompt),
        }
        return joined(
            {name: grouped(tensor) for name, tensor in step.items()} | about for step in path
        )

    def _walked(
        self, net: Denoiser, batch: PromptBatch, draws: Draws
    ) -> tuple[list[Items], Latents]:
        """Return the steps that are learned from, off the device, and the clean latents."""
        how, x_0 = self.walking, batch.noise
        path: list[Items] = []
        last = len(self.plan.levels) - how.drop_last
        steps = walk(
            net,
            self.schedule,
            batch,
            draws,
            plan=self.plan,
            k=how.k,
            same_start=how.same_start,
        )
        for number, (state, mean, x_0) in enumerate(steps):  # noqa: B007
            if number < last and self._random(state):
                taken = {"x_t": state.x_t, "t": state.t, "s": state.s, "mean": mean}
                path.append({name: tensor.detach().cpu() for name, tensor in taken.items()})
        return path, x_0

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
        mean = items["mean"].flatten(0, 1).to(device)
        return Transitions(
            state=state,
            x_s=self._sampled(items, state, mean),
            mean=mean,
            score=items["score"].to(device),
            plan=self.plan,
            positions=positions,
        )

    def _sampled(self, items: Items, state: State, mean: Tensor) -> Latents:
        """Make each x_s again as `walk` made it, bit for bit: from mu and the noise's seed."""
        std = self.schedule.transition(state.t, state.s, eta=self.plan.eta).std
        numbers = {t: number for number, (t, _) in enumerate(self.plan.levels)}
        z = [
            one_noise(
                self.prompts.seed, int(asked), numbers[int(t)], self.prompts.shape, int(image)
            )
            for asked, steps, images in zip(items["asked"], items["t"], items["image"], strict=True)
            for t, image in zip(steps, images, strict=True)
        ]
        return mean + std.to(mean).view(-1, 1, 1, 1) * torch.stack(z).to(mean)
