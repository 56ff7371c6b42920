"""A new person as a mixture of known ones."""

from dataclasses import replace

import torch

from diffpref.users.evidence import evidence_of
from diffpref.users.posterior import Gaps
from diffpref.users.table import PULL, mixture, table_belief
from tests.users.planted import some_pairs, some_prior

PRIOR = some_prior()
VOTES = evidence_of(PRIOR, some_pairs(25, seed=1)).gaps()


def loss(share: torch.Tensor) -> torch.Tensor:
    logit = VOTES.gap.double() @ (share @ PRIOR.rows.double())
    votes = torch.nn.functional.softplus(logit) - VOTES.share.double() * logit
    return votes.sum() + PULL * (share * (len(share) * share).log()).sum()


def test_the_mixture_is_the_optimum_on_the_simplex() -> None:
    """Against plain gradient descent on logits from several starts; the problem is convex."""
    found = mixture(PRIOR, VOTES)
    assert torch.allclose(found.sum(), torch.ones(()).double())
    rng = torch.Generator().manual_seed(0)
    for _ in range(3):
        logits = torch.randn(7, generator=rng, dtype=torch.float64, requires_grad=True)
        solver = torch.optim.Adam([logits], lr=0.05)
        for _ in range(600):
            solver.zero_grad()
            torch.autograd.backward(loss(logits.softmax(dim=0)))
            solver.step()
        assert torch.allclose(found, logits.detach().softmax(dim=0), atol=2e-3)
        assert float(loss(found)) <= float(loss(logits.detach().softmax(dim=0))) + 1e-9


def test_without_votes_everyone_counts_the_same() -> None:
    none = Gaps(gap=VOTES.gap[:0], share=VOTES.share[:0], weight=VOTES.weight[:0])
    assert torch.allclose(mixture(PRIOR, none), torch.full((7,), 1 / 7).double())
    belief = table_belief(PRIOR, none)
    assert torch.allclose(belief.mean, PRIOR.rows.double().mean(dim=0))


def test_many_votes_of_a_known_person_find_that_person() -> None:
    taste = PRIOR.rows[4] * 3
    rows = replace(PRIOR, rows=PRIOR.rows * 3)
    gap = torch.randn(600, PRIOR.rows.shape[1], generator=torch.Generator().manual_seed(0))
    votes = Gaps(gap=gap, share=(gap @ taste).sigmoid(), weight=torch.ones(600))
    assert float(mixture(rows, votes)[4]) > 0.9
