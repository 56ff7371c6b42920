r"""A new person: their few weights fitted to a few votes, with everything else frozen.

    o = argmin_o  sum_i L( u_i(w + o), p_i ) + o^T Q o / 2

w are everyone's weights. Q is the inverse covariance of the weights of the people the head was
trained on, so that without votes a new person is everyone, and a few votes move them as far as
people are known to differ and no further.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from diffpref.errors import UsageError
from diffpref.rewards.heads.head import Head
from diffpref.rewards.heads.items import Features, features
from diffpref.rewards.heads.loss import pair_loss
from diffpref.rewards.heads.pairs import Pairs

STEPS = 60


def fit_user(head: Head, pairs: Pairs, name: str) -> Head:
    """Return the head with one more person, fitted to their votes.

    Args:
        head: trained; none of its numbers change.
        pairs: the person's votes; whatever they say about who voted is not read.
        name: of the person; one the head knows is fitted anew.

    Raises:
        UsageError: the head has one taste for all.
    """
    if not head.kind.personal:
        hint = "train another head, such as lore or pal-a"
        raise UsageError(f"{head.name} has no people", where="fit_user", hint=hint)
    return head.with_person(name, fit_offset(head, pairs))


def fit_offset(head: Head, pairs: Pairs) -> Float[Tensor, " k"]:
    """Return the most probable weights of a person, minus everyone's; float32."""
    first, second = (_double(features(each, head.scales)) for each in pairs.sides())
    shared = {name: value.detach().double() for name, value in head.shared.items()}
    share, weight = pairs.share.double(), pairs.weight.double()
    precision = head.precision.double()
    offset = torch.zeros(head.offsets.shape[1], dtype=torch.float64, requires_grad=True)
    solver = torch.optim.LBFGS(
        [offset], max_iter=STEPS, tolerance_grad=1e-8, line_search_fn="strong_wolfe"
    )

    def objective() -> Tensor:
        solver.zero_grad()
        weights = (shared["everyone"] + offset).expand(len(pairs), -1)
        logit = head.kind.logit(shared, first, second, weights) / head.temperature
        value = (weight * pair_loss(logit, share)).sum() + offset @ precision @ offset / 2
        torch.autograd.backward(value)
        return value

    if len(pairs):
        solver.step(objective)
    return offset.detach().float()


def _double(found: Features) -> Features:
    return Features(
        image=found.image.double(), prompt=found.prompt.double(), base=found.base.double()
    )
