r"""What is learned of noisy latents: a reward whose weights follow the timestep.

    b_j(t) = \cos( \pi j t / (T - 1) ),  j = 0..J-1;     z = (features - mean) / spread
    r(x_t, t, c) = \beta o + z^T W b(t) + v^T silu( A z + C b(t) )

o is the score an existing scorer gives (0 where there is none), z what the base or the scorer
makes of x_t at t. W and v start at zero, so an untrained head is \beta o. A difference of rewards
at one t is the log odds of being preferred; the level of r means nothing across timesteps, which
pairs of one timestep cannot tell.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import silu

from diffpref.draws import generator
from diffpref.types import PerRow

BASIS = 6
"""J: how many cosines of t a weight is made of."""

LEARNED = ("W", "A", "C", "v")


@dataclass(frozen=True, kw_only=True)
class StepHead:
    """The numbers of the formula above. `length` is T; `learned` holds W, A, C, v."""

    length: int
    mean: Float[Tensor, " d"]
    spread: Float[Tensor, " d"]
    base: Float[Tensor, ""]
    learned: Mapping[str, Tensor]

    def __call__(
        self, features: Float[Tensor, "n d"], own: Float[Tensor, " n"], t: Int[Tensor, " n"], /
    ) -> PerRow:
        """Return rewards in float32; the clean level -1 counts as t = 0."""
        z = (features.float() - self.mean.to(features.device)) / self.spread.to(features.device)
        at = basis(t.to(z.device), self.length)
        W, A, C, v = (self.learned[name].to(z) for name in LEARNED)
        bent = silu(z @ A + at @ C) @ v
        return self.base.to(z) * own.to(z) + ((z @ W) * at).sum(dim=1) + bent

    def scaled(self, factor: float) -> "StepHead":
        """Return the head whose rewards are `factor` times these."""
        outer = {name: self.learned[name] * factor for name in ("W", "v")}
        return StepHead(
            length=self.length,
            mean=self.mean,
            spread=self.spread,
            base=self.base * factor,
            learned={**self.learned, **outer},
        )


def basis(t: Int[Tensor, " n"], length: int) -> Float[Tensor, "n j"]:
    """Return b(t), float32."""
    share = t.clamp(min=0).float() / max(length - 1, 1)
    return torch.cos(torch.pi * share[:, None] * torch.arange(BASIS, device=t.device))


def start_head(
    features: Float[Tensor, "m d"], *, base: float, length: int, hidden: int, seed: int
) -> StepHead:
    """Return the untrained head: beta times the scorer's own score.

    Args:
        features: of the training images, which set the scale of z.
        base: beta.
        length: T.
        hidden: width of the bent part; 0 leaves the reward linear in z.
        seed: of A.
    """
    d, wide = features.shape[1], features.double()
    random = torch.randn(d, hidden, generator=generator(seed, 0, "noisy/A"))
    return StepHead(
        length=length,
        mean=wide.mean(dim=0).float(),
        spread=wide.std(dim=0, correction=0).clamp(min=1e-6).float(),
        base=torch.tensor(base),
        learned={
            "W": torch.zeros(d, BASIS),
            "A": random / d**0.5,
            "C": torch.zeros(BASIS, hidden),
            "v": torch.zeros(hidden),
        },
    )
