"""What making an online method's data asks of the network and the reward, counted."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from diffpref.draws import Draws
from diffpref.schedule import NoiseSchedule
from diffpref.step_objective import StepObjective
from diffpref.steps import StepPlan
from diffpref.trajectories.displace import displacement
from diffpref.trajectories.rollout import branched
from diffpref.trajectories.walk import walk
from diffpref.types import (
    AnyObjective,
    Conditioning,
    Latents,
    PerRow,
    PromptBatch,
    Steps,
)
from diffpref.walk_objective import GradedWalks, PairedWalks


@dataclass(kw_only=True)
class Counter:
    """A stand-in network and reward that count the rows they are given."""

    noisy: bool = False
    space: str = "latent"
    differentiable: bool = True
    network: int = 0
    rewards: int = field(default=0)

    def net(self, x_t: Latents, t: Steps, cond: Conditioning, /) -> Latents:
        del t, cond
        self.network += len(x_t) * (3 if torch.is_grad_enabled() else 1)
        return x_t

    def __call__(self, x: Tensor, t: Steps | None, prompts: tuple[str, ...], /) -> PerRow:
        del t, prompts
        self.rewards += len(x)
        return x.flatten(1).mean(dim=1)


@torch.no_grad()
def sampling_cost(
    objective: AnyObjective, schedule: NoiseSchedule, plan: StepPlan
) -> dict[str, float] | None:
    """Return network images and reward calls spent per pair or step that is learnt from.

    Counted by sampling one prompt on stand-ins, a backward pass as two forward ones; pairs that a
    filter leaves out are not counted off.

    Args:
        objective: who learns from the samples.
        schedule: signal power by step.
        plan: how the policy samples.

    Returns:
        network, rewards; None for a method that does not learn from steps.
    """
    batch = _one_prompt()
    draws = Draws(0, batch.positions)
    if isinstance(objective, StepObjective):
        made = objective.branching
        counter = Counter(noisy=made.noisy)
        start = made.plain(len(plan.levels))
        push = None
        if made.push:
            push = displacement(
                counter.net, schedule, counter, batch.prompts, plan=plan, push=made.push
            )
        units = sum(
            1
            for _ in branched(
                counter.net,
                schedule,
                batch,
                counter,
                draws,
                plan=plan,
                k=made.k,
                continue_from=made.continue_from,
                start=start,
                skip_last=made.skip_last,
                displace=push,
            )
        )
        return {"network": counter.network / units, "rewards": counter.rewards / units}
    if isinstance(objective, PairedWalks | GradedWalks):
        k, counter = objective.walking.k, Counter()
        steps = sum(1 for _ in walk(counter.net, schedule, batch, draws, plan=plan, k=k))
        kept = steps - objective.walking.drop_last
        units = kept * (1 if isinstance(objective, PairedWalks) else k)
        return {"network": counter.network / units, "rewards": k / units}
    return None


def _one_prompt() -> PromptBatch:
    return PromptBatch(
        prompts=("",),
        cond=Conditioning(text=torch.zeros(1, 1, 1)),
        noise=torch.zeros(1, 1, 1, 1),
        positions=torch.zeros(1, dtype=torch.long),
    )
