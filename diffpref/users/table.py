r"""The `table` encoder: a new person is a mixture of people the population was learned from.

    w = R^T a,  a on the simplex
    a = argmin  sum_i weight_i L( d_i^T R^T a, p_i ) + PULL sum_u a_u log( U a_u )

R holds one learned row per training person, as PAL (2406.08469) and Premier mix users. The entropy
keeps a uniform without votes, where w is the mean of the rows. The problem is convex; it is solved
by exponentiated gradient steps in float64.

Departs from PAL: rows are the people themselves rather than learned prototypes.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from diffpref.users.posterior import Belief, Gaps
from diffpref.users.prior import Prior

PULL = 2.0
"""How many votes' worth of loss the distance from the uniform mixture counts."""

STEPS = 400
CLOSE = 1e-10


def mixture(prior: Prior, votes: Gaps) -> Float[Tensor, " u"]:
    """Return the person's shares in the rows of the table."""
    rows = prior.rows.double()
    each = votes.gap.double() @ rows.T
    share, weight = votes.share.double(), votes.weight.double()
    logs = torch.full((len(rows),), -float(torch.tensor(len(rows)).log()), dtype=torch.float64)
    start = logs

    def value(at: Tensor) -> Tensor:
        logit = each @ at.exp()
        loss = torch.nn.functional.softplus(logit) - share * logit
        return (weight * loss).sum() + PULL * (at.exp() * (at - start)).sum()

    pace, now = 1.0 / PULL, value(logs)
    for _ in range(STEPS):
        slope = each.T @ (weight * ((each @ logs.exp()).sigmoid() - share)) + PULL * (logs - start)
        new = (logs - pace * slope).log_softmax(dim=0)
        after = value(new)
        if after > now:
            pace /= 2
            continue
        done = float((new.exp() - logs.exp()).abs().max()) < CLOSE
        logs, now, pace = new, after, min(pace * 1.5, 1.0 / PULL)
        if done:
            break
    return logs.exp()


def table_belief(prior: Prior, votes: Gaps) -> Belief:
    """Return the mixture as a belief: as uncertain as the rows it mixes lie apart."""
    share, rows = mixture(prior, votes), prior.rows.double()
    mean = share @ rows
    apart = rows - mean
    floor = prior.spread.floor**2 * torch.eye(rows.shape[1], dtype=torch.float64)
    return Belief(mean=mean, cov=(apart.T * share) @ apart + floor)
