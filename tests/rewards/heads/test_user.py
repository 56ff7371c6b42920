"""A new person: a few weights move, nothing else does, and few votes help rather than hurt."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from diffpref.errors import UsageError
from diffpref.rewards.heads import HEADS
from diffpref.rewards.heads.fit import fit_head
from diffpref.rewards.heads.head import Head
from diffpref.rewards.heads.kind import simplex
from diffpref.rewards.heads.loss import pair_loss
from diffpref.rewards.heads.pairs import NOBODY, Pairs
from diffpref.rewards.heads.settings import FitSettings
from diffpref.rewards.heads.user import fit_offset, fit_user
from tests.rewards.heads.conftest import REF, D, accuracy, planted, random_head

PERSONAL = [name for name, kind in HEADS.items() if kind.personal]


def bits(head: Head) -> dict[str, bytes]:
    """Return every number a head holds, except the newest person's."""
    tensors = {
        **{f"shared/{name}": value for name, value in head.shared.items()},
        **{f"scales/{name}": value for name, value in head.scales.items()},
        "offsets": head.offsets[:2],
        "precision": head.precision,
        "temperature": torch.tensor(head.temperature),
    }
    return {name: value.detach().numpy().tobytes() for name, value in tensors.items()}


@pytest.mark.parametrize("name", PERSONAL)
def test_only_the_new_persons_weights_change(name: str, some_pairs: Pairs) -> None:
    known = {"a": torch.tensor([0.1, 0.2, 0.3]), "b": torch.tensor([1.0, 0.0, -1.0])}
    head = random_head(name, some_pairs, known)
    before = bits(head)
    told = fit_user(head, some_pairs.rows(torch.arange(10)), "new")
    assert bits(told) == before == bits(head)
    assert told.people == ("a", "b", "new")
    assert head.people == ("a", "b")
    assert float(told.offsets[2].abs().max()) > 1e-4
    assert all(not value.requires_grad for value in told.shared.values())
    again = fit_user(told, some_pairs.rows(torch.arange(10, 20)), "new")
    assert again.people == told.people
    assert bits(again) == before
    assert not torch.equal(again.offsets[2], told.offsets[2])


@pytest.mark.parametrize("name", PERSONAL)
def test_the_fitted_weights_are_a_minimum_of_loss_plus_prior(name: str, some_pairs: Pairs) -> None:
    head = random_head(name, some_pairs)
    votes = some_pairs.rows(torch.arange(30))
    precision = torch.tensor([[2.0, 0.3, 0.0], [0.3, 1.0, 0.0], [0.0, 0.0, 0.5]])
    head = replace(head, precision=precision)
    found = fit_offset(head, votes).double()

    def objective(offset: Tensor) -> float:
        weights = (head.shared["everyone"] + offset.float()).expand(30, -1)
        loss = pair_loss(head.log_odds(*votes.sides(), weights).double(), votes.share.double())
        return float(loss.sum() + offset @ precision.double() @ offset / 2)

    rng = torch.Generator().manual_seed(0)
    least = objective(found)
    for _ in range(20):
        step = 0.05 * torch.randn(3, generator=rng, dtype=torch.float64)
        assert objective(found + step) > least - 1e-5


def test_without_votes_a_new_person_is_everyone(some_pairs: Pairs) -> None:
    head = random_head("lore", some_pairs)
    told = fit_user(head, some_pairs.rows(torch.arange(0)), "new")
    assert torch.equal(told.weights(["new"]), told.weights([None]))
    assert torch.equal(told.weights([None])[0], head.shared["everyone"])


def test_who_the_votes_say_voted_is_not_read(some_pairs: Pairs) -> None:
    head, votes = random_head("pal-a", some_pairs), some_pairs.rows(torch.arange(12))
    nobody = replace(votes, person=torch.full_like(votes.person, NOBODY))
    assert torch.equal(fit_offset(head, votes), fit_offset(head, nobody))


def test_a_head_with_one_taste_has_no_people(some_pairs: Pairs) -> None:
    with pytest.raises(UsageError, match="bradley-terry has no people"):
        fit_user(random_head("bradley-terry", some_pairs), some_pairs, "new")


def test_an_unknown_person_is_named_with_what_to_do(some_pairs: Pairs) -> None:
    head = random_head("lore", some_pairs, {"anna": torch.zeros(3)})
    with pytest.raises(UsageError, match=r"no person 'ana'\n.*fit_user first; did you mean 'anna'"):
        head.weights(["ana"])


@pytest.mark.parametrize("name", ["lore", "pal-a", "mixture"])
def test_three_and_ten_votes_of_a_new_person_help(name: str) -> None:
    basis, shares = 2 * _table(2, D, 3), simplex(4 * _table(3, 34, 3))

    def utility(x: Tensor, _c: Tensor, u: Tensor) -> Tensor:
        return ((x @ basis) * shares[u]).sum(dim=1)

    train, test, exact = planted(utility, people=34, votes=90)
    old = train.person < 24
    settings = FitSettings(groups=3, width=3, steps=150, batch=512, lr=0.05, ridge=1.0, every=50)
    validation = old & (torch.arange(len(train)) // 34 % 5 == 0)
    head = fit_head(
        name, train.rows(old & ~validation), train.rows(validation), settings, embedder=REF
    ).head
    reached = {}
    for count in (0, 3, 10, 60):
        told = head
        for who in range(24, 34):
            votes = train.rows((train.person == who).nonzero()[:count, 0])
            told = fit_user(told, votes, f"p{who}")
        new = test.person >= 24
        reached[count] = accuracy(told.judge(test.rows(new)), exact[new])
    assert reached[0] < reached[3] < reached[10] <= reached[60] + 0.005
    assert reached[10] > reached[0] + 0.05


def _table(seed: int, *size: int) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed))
