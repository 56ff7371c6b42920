"""Every head against its formula written again: plain loops in float64, and its laws."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from diffpref.rewards.heads import HEADS, gpm, mixture, pal
from diffpref.rewards.heads.items import Block, Features, Items, features, scales_of
from diffpref.rewards.heads.kind import Shape, simplex
from tests.rewards.heads.conftest import D, random_features, random_shared, unit

SHAPE = Shape(d=D, prompt=D, groups=3, width=4)
N = 7


def shares(weights: list[float]) -> list[float]:
    top = [math.exp(each) for each in weights]
    return [each / sum(top) for each in top]


def dot(one: list[float], two: list[float]) -> float:
    return sum(a * b for a, b in zip(one, two, strict=True))


def column(matrix: Tensor, k: int) -> list[float]:
    return matrix[:, k].tolist()


def naive_reward(name: str, s: dict[str, Tensor], x: list[float], c: list[float], w: list[float]):
    """Return the taste of one picture, without the scorer's own score."""
    if name == "bradley-terry":
        return dot(s["taste"].tolist(), x)
    if name == "lore":
        return sum(share * dot(column(s["basis"], k), x) for k, share in enumerate(shares(w)))
    if name == "mixture":
        route = shares([w[k] + dot(column(s["router"], k), c) for k in range(3)])
        return sum(pi * dot(column(s["experts"], k), x) for k, pi in enumerate(route))
    at = [dot(column(s["place"], j), x) for j in range(4)]
    ideal = [0.0] * 4
    for k, share in enumerate(shares(w)):
        for j in range(4):
            mapped = dot(column(s["maps"][k], j), c) if name == "pal-b" else 0.0
            ideal[j] += share * (float(s["prototypes"][k, j]) + mapped)
    scale = min(math.exp(float(s["scale"])), 100.0)
    if name == "pal-a":
        return -scale * math.dist(at, ideal)
    return scale * dot(at, ideal) / (math.hypot(*at) * math.hypot(*ideal))


@pytest.mark.parametrize("name", [name for name in HEADS if name != "gpm"])
def test_the_reward_is_its_formula(name: str) -> None:
    rng = torch.Generator().manual_seed(1)
    shared, items = random_shared(name, SHAPE, rng), random_features(rng, N)
    weights = torch.randn(N, 3, generator=rng, dtype=torch.float64)
    reward = HEADS[name].reward
    assert reward is not None
    found = reward(shared, items, weights)
    expected = [
        0.0
        + float(shared["base"]) * float(items.base[i])
        + naive_reward(
            name,
            shared,
            items.image[i].tolist(),
            items.prompt[i].tolist(),
            weights[i].tolist(),
        )
        for i in range(N)
    ]
    assert torch.allclose(found, torch.tensor(expected, dtype=torch.float64), atol=1e-6)


def same_prompt(rng: torch.Generator) -> tuple[Features, Features]:
    one, two = random_features(rng, N), random_features(rng, N)
    return one, Features(image=two.image, prompt=one.prompt, base=two.base)


def test_the_general_preference_is_its_formula() -> None:
    rng = torch.Generator().manual_seed(2)
    shared = random_shared("gpm", SHAPE, rng)
    one, two = same_prompt(rng)
    weights = torch.randn(N, 3, generator=rng, dtype=torch.float64)
    for i in range(N):
        v = []
        for items in (one, two):
            raw = [
                dot(column(shared["value"], j), items.image[i].tolist()) + float(shared["bias"][j])
                for j in range(6)
            ]
            v.append([each / math.hypot(*raw) for each in raw])
        gate = shares(
            [
                float(weights[i, k]) + dot(column(shared["gate"], k), one.prompt[i].tolist())
                for k in range(3)
            ]
        )
        s = sum(
            gate[k] * (v[0][2 * k] * v[1][2 * k + 1] - v[0][2 * k + 1] * v[1][2 * k])
            for k in range(3)
        )
        own = float(shared["base"]) * float(one.base[i] - two.base[i])
        assert float(HEADS["gpm"].logit(shared, one, two, weights)[i]) == pytest.approx(
            3 * s / 0.1 + own, abs=1e-9
        )


def test_the_mixture_is_a_mixture_of_probabilities() -> None:
    rng = torch.Generator().manual_seed(3)
    shared = random_shared("mixture", SHAPE, rng)
    one, two = same_prompt(rng)
    weights = torch.randn(N, 3, generator=rng, dtype=torch.float64)
    found = HEADS["mixture"].logit(shared, one, two, weights)
    for i in range(N):
        c = one.prompt[i].tolist()
        route = shares(
            [float(weights[i, k]) + dot(column(shared["router"], k), c) for k in range(3)]
        )
        chance = 0.0
        for k in range(3):
            gap = dot(column(shared["experts"], k), (one.image[i] - two.image[i]).tolist())
            gap += float(shared["base"]) * float(one.base[i] - two.base[i])
            chance += route[k] / (1 + math.exp(-gap))
        assert float(found[i]) == pytest.approx(math.log(chance / (1 - chance)), abs=1e-9)
    far = Features(image=1e4 * one.image, prompt=one.prompt, base=one.base)
    assert bool(torch.isfinite(HEADS["mixture"].logit(shared, far, two, weights)).all())


@pytest.mark.parametrize("name", list(HEADS))
def test_exchanging_the_pictures_changes_the_sign_and_equals_are_even(name: str) -> None:
    rng = torch.Generator().manual_seed(4)
    shared = random_shared(name, SHAPE, rng)
    one, two = same_prompt(rng)
    weights = torch.randn(N, 3 if HEADS[name].personal else 0, generator=rng, dtype=torch.float64)
    logit = HEADS[name].logit
    there = logit(shared, one, two, weights)
    assert torch.allclose(there, -logit(shared, two, one, weights), atol=1e-12)
    assert float(there.abs().min()) > 0
    assert float(logit(shared, one, one, weights).abs().max()) < 1e-12


@pytest.mark.parametrize("name", [name for name in HEADS if name not in {"gpm", "mixture"}])
def test_a_pair_is_the_difference_of_two_rewards(name: str) -> None:
    rng = torch.Generator().manual_seed(5)
    shared = random_shared(name, SHAPE, rng)
    one, two = same_prompt(rng)
    weights = torch.randn(N, 3, generator=rng, dtype=torch.float64)
    kind = HEADS[name]
    assert kind.reward is not None
    gap = kind.reward(shared, one, weights) - kind.reward(shared, two, weights)
    assert torch.equal(kind.logit(shared, one, two, weights), gap)


def test_every_weight_is_a_share_and_shares_have_sum_one() -> None:
    rng = torch.Generator().manual_seed(6)
    weights = 5 * torch.randn(20, 3, generator=rng, dtype=torch.float64)
    assert torch.allclose(simplex(weights).sum(dim=1), torch.ones(20, dtype=torch.float64))
    assert float(simplex(weights).min()) > 0
    items = random_features(rng, 20)
    routes = mixture.routes(random_shared("mixture", SHAPE, rng), items, weights).exp()
    assert torch.allclose(routes.sum(dim=1), torch.ones(20, dtype=torch.float64))


def test_vectors_of_the_general_preference_have_length_one_so_its_score_is_bounded() -> None:
    rng = torch.Generator().manual_seed(7)
    shared = random_shared("gpm", SHAPE, rng)
    one, two = same_prompt(rng)
    weights = torch.randn(N, 3, generator=rng, dtype=torch.float64)
    length = gpm.embed(shared, one).square().sum(dim=(1, 2))
    assert torch.allclose(length, torch.ones(N, dtype=torch.float64))
    assert float(gpm.score(shared, one, two, weights).abs().max()) <= 1


def test_the_nearer_to_the_ideal_point_the_better() -> None:
    rng = torch.Generator().manual_seed(8)
    shared = random_shared("pal-a", SHAPE, rng)
    weights = torch.randn(1, 3, generator=rng, dtype=torch.float64).expand(9, 3)
    ideal = pal.ideal_a(shared, weights)[0]
    # pictures along a line whose places lead away from the ideal point
    origin = torch.linalg.lstsq(shared["place"].T, ideal[:, None]).solution[:, 0]
    away = torch.randn(D, generator=rng, dtype=torch.float64)
    steps = torch.linspace(0, 2, 9, dtype=torch.float64)[:, None]
    items = Features(
        image=origin + steps * away,
        prompt=torch.zeros(9, D, dtype=torch.float64),
        base=torch.zeros(9, dtype=torch.float64),
    )
    distance = (pal.place(shared, items) - ideal).norm(dim=1)
    assert bool((distance.diff() > 0).all())
    assert bool((pal.reward_a(shared, items, weights).diff() < 0).all())


def test_the_gradient_at_the_ideal_point_itself_is_finite() -> None:
    rng = torch.Generator().manual_seed(9)
    shared = random_shared("pal-a", SHAPE, rng)
    shared["place"] = torch.zeros_like(shared["place"]).requires_grad_()
    shared["prototypes"] = torch.zeros_like(shared["prototypes"])
    weights = torch.zeros(N, 3, dtype=torch.float64)
    torch.autograd.backward(pal.reward_a(shared, random_features(rng, N), weights).sum())
    assert shared["place"].grad is not None
    assert bool(torch.isfinite(shared["place"].grad).all())


def test_features_are_standardised_over_the_pictures_that_set_the_scale() -> None:
    rng = torch.Generator().manual_seed(10)
    image, prompt = unit(rng, 50), unit(rng, 50)
    image[:, 2] = 0.25
    items = Items(image=image, prompt=prompt)
    found = features(items, scales_of(items))
    for i in range(50):
        own = sum(float(image[i, j]) * float(prompt[i, j]) for j in range(D))
        spread = float((image * prompt).sum(dim=1).std(correction=0))
        assert float(found.base[i]) == pytest.approx(own / spread, rel=1e-4, abs=1e-5)
    assert float(found.image.mean(dim=0).abs().max()) < 1e-5
    whole = torch.full((3,), D**-0.5)
    assert torch.allclose(found.image.std(dim=0, correction=0)[[0, 1, 3]], whole, atol=1e-4)
    assert torch.allclose(found.prompt.std(dim=0, correction=0)[:3], whole, atol=1e-4)
    assert float(found.image[:, 2].abs().max()) < 1e-5


def test_a_score_weighs_as_much_as_a_whole_embedding_and_saturates() -> None:
    rng = torch.Generator().manual_seed(11)
    score, other = 7 + 2 * torch.randn(50, 1, generator=rng), unit(rng, 50, 4)
    items = Items(image=torch.cat([unit(rng, 50), score, other], dim=1), prompt=unit(rng, 50))
    blocks = [Block(width=1, saturates=True), Block(width=4, saturates=False)]
    scales = scales_of(items, blocks)
    found = features(items, scales)
    mean = sum(score[:, 0].tolist()) / 50
    spread = math.sqrt(sum((value - mean) ** 2 for value in score[:, 0].tolist()) / 50)
    for i in range(50):
        expected = math.tanh((float(score[i, 0]) - mean) / spread) / 0.628
        assert float(found.image[i, D]) == pytest.approx(expected, abs=1e-4)
    each = found.image.square().mean(dim=0)
    assert float(each[:D].sum()) == pytest.approx(1, abs=1e-4)
    assert float(each[D + 1 :].sum()) == pytest.approx(1, abs=1e-4)
    assert 0.8 < float(each[D]) < 1.2
    far = replace(items, image=items.image + 1e6 * torch.eye(D + 5)[D])
    assert float(features(far, scales).image[:, D].max()) == pytest.approx(1 / 0.628)
    # the scorer's own score does not see what follows the embedding
    assert torch.equal(features(far, scales).base, found.base)
