"""Planted tastes are found by the head made for them, not by one that cannot hold them."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from diffpref.errors import DataError
from diffpref.rewards.heads import HEADS, mixture
from diffpref.rewards.heads.fit import Fitted, fit_head
from diffpref.rewards.heads.items import features
from diffpref.rewards.heads.kind import simplex
from diffpref.rewards.heads.pairs import Pairs
from diffpref.rewards.heads.settings import FitSettings
from tests.rewards.heads.conftest import REF, D, accuracy, planted

# numbers of an embedding are divided by the root of its width D: steps grow by it, priors by D
FAST = FitSettings(groups=3, width=3, steps=200, batch=512, lr=0.12, ridge=1 / D, every=50)


def fit(name: str, train: Pairs, settings: FitSettings = FAST) -> Fitted:
    rows = torch.rand(len(train), generator=torch.Generator().manual_seed(9)) < 0.2
    return fit_head(name, train.rows(~rows), train.rows(rows), settings, embedder=REF)


def table(seed: int, *size: int) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed))


def test_bradley_terry_finds_one_taste() -> None:
    taste = table(1, D)
    train, test, exact = planted(lambda x, _c, _u: x @ taste, people=5, votes=300)
    fitted = fit("bradley-terry", train)
    assert accuracy(fitted.head.judge(test), exact) > accuracy(exact, exact) - 0.01
    found = fitted.head.shared["taste"] / fitted.head.scales["image.spread"]
    assert float(torch.cosine_similarity(found, taste, dim=0)) > 0.97


def test_every_head_starts_at_the_scorers_own_score_and_keeps_it_when_that_is_all() -> None:
    train, test, exact = planted(lambda x, c, _u: (x * c).sum(dim=1), people=5, votes=200, sharp=6)
    for name in HEADS:
        head = fit(name, train, replace(FAST, ridge=300.0, steps=60, every=20)).head
        assert accuracy(head.judge(test), exact) > accuracy(exact, exact) - 0.02, name


def test_lore_finds_a_basis_of_the_rank_that_was_planted() -> None:
    basis = 2 * table(2, D, 3)
    shares = simplex(3 * table(3, 24, 3))

    def utility(x: Tensor, _c: Tensor, u: Tensor) -> Tensor:
        return ((x @ basis) * shares[u]).sum(dim=1)

    train, test, exact = planted(utility, people=24, votes=150)
    ceiling = accuracy(exact, exact)
    found = {k: fit("lore", train, replace(FAST, groups=k)).head for k in (1, 3, 6)}
    reached = {k: accuracy(head.judge(test), exact) for k, head in found.items()}
    assert reached[3] > ceiling - 0.02
    assert reached[1] < reached[3] - 0.05
    assert abs(reached[6] - reached[3]) < 0.015
    # what tells people apart spans the same plane
    spread = found[3].scales["image.spread"]
    shown = found[3].shared["basis"] / spread[:, None]
    planes = [torch.linalg.qr(each[:, 1:] - each[:, :1]).Q for each in (shown, basis)]
    angles = torch.linalg.svdvals(planes[0].T @ planes[1])
    assert float(angles.min()) > 0.9


def test_pal_finds_the_clusters_of_people() -> None:
    ideal = torch.tensor([[1.5, 0, 0, 0, 0, 0], [-0.8, 1.2, 0, 0, 0, 0], [-0.8, -1.2, 0, 0, 0, 0]])
    group = torch.arange(18) % 3

    def utility(x: Tensor, _c: Tensor, u: Tensor) -> Tensor:
        return -(x - ideal[group[u]]).norm(dim=1)

    train, test, exact = planted(utility, people=18, votes=150, sharp=6)
    head = fit("pal-a", train).head
    assert accuracy(head.judge(test), exact) > accuracy(exact, exact) - 0.025
    prompts = test.prompts[:1].expand(len(test.images), -1)
    worth = torch.stack([head.reward(test.images, prompts, who) for who in head.people])
    like, same = torch.corrcoef(worth), group[:, None] == group[None]
    assert float(like[same].min()) > float(like[~same].max())


def test_pal_b_finds_ideal_points_that_follow_the_prompt() -> None:
    maps = table(4, 2, D, D)

    def utility(x: Tensor, c: Tensor, u: Tensor) -> Tensor:
        ideal = torch.einsum("nd,nde->ne", c, maps[u % 2])
        return torch.cosine_similarity(x, ideal, dim=1)

    train, test, exact = planted(utility, people=6, votes=500, sharp=6)
    settings = replace(FAST, groups=2, width=6, spread=3.0)
    reached = {
        name: accuracy(fit(name, train, settings).head.judge(test), exact)
        for name in ("pal-a", "pal-b")
    }
    assert reached["pal-b"] > accuracy(exact, exact) - 0.04
    assert reached["pal-a"] < reached["pal-b"] - 0.2


def test_the_mixture_routes_by_prompt_what_one_taste_cannot_hold() -> None:
    taste = 2 * table(5, D)

    def utility(x: Tensor, c: Tensor, _u: Tensor) -> Tensor:
        return (x @ taste) * c[:, 0].sign()

    train, test, exact = planted(utility, people=4, votes=500)
    settings = replace(FAST, groups=2)
    head = fit("mixture", train, settings).head
    assert accuracy(head.judge(test), exact) > accuracy(exact, exact) - 0.04
    assert accuracy(fit("bradley-terry", train, settings).head.judge(test), exact) < 0.56
    first, _ = test.sides()
    route = mixture.routes(head.shared, features(first, head.scales), head.weights_of(test)).exp()[
        :, 0
    ]
    one, other = route[first.prompt[:, 0] > 0.2], route[first.prompt[:, 0] < -0.2]
    assert abs(float(one.mean() - other.mean())) > 0.7


def test_the_mixture_tells_people_apart() -> None:
    taste = 2 * table(6, D)

    def utility(x: Tensor, _c: Tensor, u: Tensor) -> Tensor:
        return (x @ taste) * (1 - 2 * (u % 2))

    train, test, exact = planted(utility, people=10, votes=150)
    head = fit("mixture", train, replace(FAST, groups=2, spread=3.0)).head
    assert accuracy(head.judge(test), exact) > accuracy(exact, exact) - 0.03


def test_the_general_preference_goes_in_circles_where_bradley_terry_cannot() -> None:
    rng = torch.Generator().manual_seed(7)
    turn = 6.2832 * torch.rand(400, generator=rng)
    # rock, paper, scissors without names: who is ahead on the circle wins
    train, test, _ = planted(lambda x, _c, _u: x[:, 0], people=4, votes=400)
    circle = torch.stack([turn.cos(), turn.sin(), *0.3 * table(8, D - 2, 400)], dim=1)

    def voted(pairs: Pairs) -> tuple[Pairs, Tensor]:
        exact = 5 * (turn[pairs.first] - turn[pairs.second]).sin()
        share = (torch.rand(len(exact), generator=rng) < exact.sigmoid()).float()
        return replace(pairs, images=circle, share=share), exact

    (train, _), (test, exact) = voted(train), voted(test)
    ceiling = accuracy(exact, exact)
    assert accuracy(fit("gpm", train).head.judge(test), exact) > ceiling - 0.03
    assert accuracy(fit("bradley-terry", train).head.judge(test), exact) < 0.55


def test_training_is_the_same_twice_and_another_with_another_seed(some_pairs: Pairs) -> None:
    few = replace(FAST, steps=20, batch=64)
    one, two = fit("lore", some_pairs, few).head, fit("lore", some_pairs, few).head
    other = fit("lore", some_pairs, replace(few, seed=1)).head
    assert torch.equal(one.shared["basis"], two.shared["basis"])
    assert torch.equal(one.offsets, two.offsets)
    assert not torch.equal(one.shared["basis"], other.shared["basis"])


def test_the_best_look_is_kept_not_the_last(some_pairs: Pairs) -> None:
    noise = torch.randint(0, 2, (len(some_pairs),), generator=torch.Generator().manual_seed(3))
    votes = replace(some_pairs, share=noise.float())
    fitted = fit("lore", votes, replace(FAST, ridge=0.0, every=10))
    losses = {row["step"]: row["validation_loss"] for row in fitted.history}
    assert fitted.best_step == min(losses, key=lambda step: losses[step])
    assert fitted.best_step < FAST.steps
    assert fitted.history[-1]["train_loss"] < fitted.history[0]["train_loss"]


def test_a_margin_and_smoothing_change_what_is_learned(some_pairs: Pairs) -> None:
    plain = fit("bradley-terry", some_pairs).head.shared["taste"]
    wide = fit("bradley-terry", some_pairs, replace(FAST, margin=2.0)).head.shared["taste"]
    soft = fit("bradley-terry", some_pairs, replace(FAST, smoothing=0.3)).head.shared["taste"]
    assert float(wide.norm()) > 1.2 * float(plain.norm())
    assert float(soft.norm()) < 0.8 * float(plain.norm())


def test_rows_count_by_their_weight(some_pairs: Pairs) -> None:
    wrong = replace(some_pairs, share=1 - some_pairs.share)
    both = replace(
        some_pairs,
        share=torch.cat([some_pairs.share, wrong.share]),
        prompt=some_pairs.prompt.repeat(2),
        first=some_pairs.first.repeat(2),
        second=some_pairs.second.repeat(2),
        person=some_pairs.person.repeat(2),
        weight=torch.cat([torch.full((len(wrong),), 9.0), torch.ones(len(wrong))]),
    )
    head = fit_head("bradley-terry", both, both.rows(torch.arange(0)), FAST, embedder=REF).head
    assert float(head.shared["taste"][0]) > 0.3
    assert head.temperature == 1


def test_no_votes_to_train_on_is_an_error(some_pairs: Pairs) -> None:
    none = some_pairs.rows(torch.arange(0))
    with pytest.raises(DataError, match="no pairs are left"):
        fit_head("lore", none, none, FAST, embedder=REF)
