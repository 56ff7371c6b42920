"""What stands for weights where an objective is built only to be looked at."""

from torch import Tensor

from diffpref.config.schema import RolloutConfig
from diffpref.schedule import scaled_linear
from diffpref.steps import StepPlan
from diffpref.toolkit import Toolkit
from diffpref.types import Conditioning, Embedder, Latents, PerRow, Steps


def stand_in(rollout: RolloutConfig | None) -> Toolkit:
    """Return a toolkit that builds any objective, where nothing is measured."""
    steps = RolloutConfig().steps if rollout is None else rollout.steps

    def plan() -> StepPlan:
        return StepPlan(levels=tuple((step, step - 1) for step in range(steps, 0, -1)))

    return Toolkit(schedule=scaled_linear(), embedder=no_features, reward=NoReward, plan=plan)


class NoReward:
    """Stands for the reward, which needs weights, where nothing is judged."""

    space, noisy, differentiable = "latent", False, True

    def __call__(self, x: Tensor, t: Steps | None, prompts: tuple[str, ...], /) -> PerRow:
        raise NotImplementedError


def no_features(layer: str) -> Embedder:
    """Stand for the feature network, which needs the weights, where nothing is measured."""

    def never(x_t: Latents, t: Steps, cond: Conditioning, /) -> Latents:
        raise NotImplementedError(layer)

    return never
