"""The people card: counting wins, intervals, panels, and keeping what is measured."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from diffpref.users.prior_file import find_prior
from diffpref.world.people import PANELS, Person, people, population_taste
from scripts.people import ledger, wins
from scripts.people.booth import Booth, believed, weights
from scripts.people.card import Card
from scripts.people.content import bound, content
from scripts.people.measures import Kept, chosen
from scripts.people.rows import Cast, cast_of, choice, mixed
from scripts.people.table import markdown, write_card
from scripts.people.training import RUNS, config_of
from scripts.people.wins import (
    advantage,
    against_one,
    against_others,
    diversity,
    liked,
    own,
    rate,
    recognised,
)
from scripts.people.words import verdict

PROFILES = Path(__file__).parents[1] / "docs" / "benchmarks" / "profiles.json"
PEOPLE, PROMPTS, TRIED = 4, 3, 5
ABOUT = {
    "form": "short",
    "settings": {"tried": TRIED, "prompts": PROMPTS, "sampler_steps": 12},
    "machine": {"processor": "none", "gemm_gflops": 1.0},
}


def random_seen(people: int = PEOPLE, prompts: int = PROMPTS, seed: int = 0) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    looks = 2 * torch.rand(people, prompts, 8, generator=rng) - 1
    return torch.cat([looks, torch.rand(people, prompts, 1, generator=rng)], dim=-1)


def tastes(count: int = PEOPLE) -> Tensor:
    return torch.stack([person.taste for person in people(7, count)])


@pytest.fixture
def booth() -> Booth:
    rng = torch.Generator().manual_seed(3)
    gaps = torch.randn(300, 9, generator=rng, dtype=torch.float64) / 2
    prior = find_prior("bt-world")
    seen = torch.randn(300, prior.whitening.width, generator=rng)
    return Booth(gaps=gaps, seen=seen, prior=prior)


@pytest.fixture
def cast(booth: Booth) -> Cast:
    return cast_of(people(7, PEOPLE), booth)


def test_wins_are_those_of_counting_one_by_one() -> None:
    seen, who = random_seen(), tastes()
    seen[1, 0] = seen[0, 0]  # a tie
    table, base = liked(seen, who), liked(random_seen(1, seed=1), who)[:, 0]

    def worth(u: int, image: Tensor) -> float:
        looks = sum(float(image[a]) * float(who[u, a]) for a in range(8))
        return looks - 2 * (1 - float(image[8]))

    def beats(ours: float, theirs: float) -> float:
        return 0.5 if abs(ours - theirs) < 1e-6 else float(ours > theirs)

    for u in range(PEOPLE):
        for p in range(PROMPTS):
            mine = worth(u, seen[u, p])
            others = [worth(u, seen[v, p]) for v in range(PEOPLE) if v != u]
            won = sum(beats(mine, each) for each in others) / len(others)
            assert against_others(table)[u, p] == pytest.approx(won)
            assert own(table)[u, p] == pytest.approx(mine, abs=1e-5)
            assert advantage(table)[u, p] == pytest.approx(mine - sum(others) / 3, abs=1e-5)
            assert against_one(table, base)[u, p] == beats(mine, float(base[u, p]))


def test_diversity_is_within_a_person_and_between_prompts() -> None:
    seen = random_seen()
    apart = [
        float((seen[v, a, :8] - seen[v, b, :8]).norm())
        for v in range(PEOPLE)
        for a, b in combinations(range(PROMPTS), 2)
    ]
    assert diversity(seen) == pytest.approx(sum(apart) / len(apart), abs=1e-5)
    assert diversity(seen[:, :1].expand(-1, 3, -1)) == 0


def test_everyone_recognises_images_made_to_their_taste() -> None:
    who = tastes()
    apart = who - who.mean(dim=0)
    made = (apart / apart.norm(dim=1, keepdim=True))[:, None].expand(-1, PROMPTS, -1)
    seen = torch.cat([made, torch.ones(PEOPLE, PROMPTS, 1)], dim=-1)
    table = liked(seen, apart)
    assert recognised(table) == 1
    assert float(against_others(table).mean()) == 1
    assert recognised(table.flip(1)) == 0


def test_intervals_resample_people_and_prompts_each_on_its_own() -> None:
    rng = torch.Generator().manual_seed(0)
    people_effect, prompt_effect = (torch.randn(n, generator=rng).double() for n in (40, 50))
    found = rate(people_effect[:, None] + 2 * prompt_effect[None])
    spread = (
        people_effect.var(correction=0) / 40 + 4 * prompt_effect.var(correction=0) / 50
    ) ** 0.5
    assert (found.high - found.low) / 3.92 == pytest.approx(float(spread), rel=0.05)
    alone = float(people_effect.std(correction=0)) / 40**0.5
    assert (found.people_high - found.people_low) / 3.92 == pytest.approx(alone, rel=0.05)
    assert found.low < found.rate < found.high
    flat = rate(torch.full((5, 3), 0.7))
    assert (flat.low, flat.high) == (pytest.approx(0.7), pytest.approx(0.7))


def test_clones_count_to_one_half_whatever_their_images() -> None:
    same = population_taste().expand(PEOPLE, -1)
    table = liked(random_seen(), same)
    assert float(against_others(table).mean()) == pytest.approx(0.5)
    assert float(advantage(table).sum()) == pytest.approx(0, abs=1e-9)


def test_opposites_cancel_so_that_no_image_pleases_them_on_the_mean() -> None:
    who = people(7, PEOPLE)
    pair = torch.stack([PANELS["opposites"](who, number).taste for number in range(PEOPLE)])
    faithful = random_seen(1)
    faithful[..., -1] = 1
    assert liked(faithful, pair).mean(dim=0) == pytest.approx(torch.zeros(1, PROMPTS), abs=1e-6)


def test_what_is_believed_after_votes_is_the_maximum_of_the_posterior() -> None:
    rng = torch.Generator().manual_seed(1)
    gaps = torch.randn(12, 9, generator=rng, dtype=torch.float64)
    share = torch.randint(0, 2, (12,), generator=rng).double()
    mean = weights(population_taste())
    found = believed(mean, gaps, share)
    offset = (found[:-1] - mean[:-1]).requires_grad_()
    logit = (gaps @ mean + gaps[:, :-1] @ offset) / 0.4
    loss = -(share * logit.sigmoid().log() + (1 - share) * (-logit).sigmoid().log()).sum()
    (slope,) = torch.autograd.grad(loss + (offset / 0.5).square().sum() / 2, offset)
    assert float(slope.abs().max()) < 1e-4
    assert float(offset.detach().abs().max()) > 0.05
    assert float(found[-1]) == pytest.approx(1, abs=1e-5)


def test_more_votes_bring_the_taste_nearer_and_begin_with_the_fewer(cast: Cast) -> None:
    booth, who = cast.booth, cast.people

    def error(shots: int) -> float:
        found = torch.stack([booth.taste(each, shots, cast.everyone) for each in who])
        return float((found - torch.stack([each.taste for each in who])).norm())

    assert error(250) < 0.6 * error(0)
    few, many = (booth.votes(who[0], shots) for shots in (4, 16))
    assert torch.equal(few[0], many[0][:4])
    assert torch.equal(few[1], many[1][:4])


def test_panels_teach_what_they_should(cast: Cast) -> None:
    deviation = {
        name: float((cast.panel(name).everyone[:-1] - population_taste()).norm())
        for name in ("clones", "opposites", "noise")
    }
    length = float(population_taste().norm())
    assert deviation["clones"] < 0.25 * length
    assert float(cast.panel("opposites").everyone[:-1].norm()) < 0.5 * length
    assert float(cast.panel("noise").everyone[:-1].norm()) < 0.25 * length
    one, two = cast.panel("opposites").people[:2]
    assert torch.equal(one.taste, -two.taste)


def test_vectors_are_in_deviations_of_people_and_zero_for_the_population(cast: Cast) -> None:
    plain = replace(cast, people=(Person(name="plain", taste=population_taste()),))
    assert plain.told("true").abs().max() == 0
    assert cast.told("true") * 0.5 + population_taste() == pytest.approx(cast.tastes, abs=1e-6)
    assert torch.equal(cast.told("attributes/0"), torch.zeros(PEOPLE, 8))
    assert cast.told("profile/4").shape == (PEOPLE, cast.booth.prior.size)
    told = cast.told("true")
    assert torch.equal(mixed(told, 0.0, 2), told[[0, 2]])
    assert torch.equal(mixed(told, 1.0, 2), told[[1, 3]])


def pool_of(seed: int = 5) -> tuple[Tensor, Tensor]:
    seen = random_seen(PROMPTS, TRIED, seed)
    width = find_prior("bt-world").whitening.width
    rng = torch.Generator().manual_seed(seed)
    return seen, torch.randn(PROMPTS, TRIED, width, generator=rng)


def test_the_true_taste_chooses_the_image_of_the_highest_utility(cast: Cast) -> None:
    seen, features = pool_of()
    best = choice(cast, "true", seen, features)
    for u in range(PEOPLE):
        for p in range(PROMPTS):
            one = liked(seen[p][:, None], cast.tastes)[u, :, 0]
            assert best[u][p] == int(one.argmax())
    assert (
        choice(cast, "attributes/0", seen, features)[0]
        == choice(cast, "everyone", seen, features)[0]
    )
    assert len(choice(cast, "everyone", seen, features)) == 1
    assert choice(cast, "profile/0", seen, features)[2] == choice(cast, "prior", seen, features)[0]
    picked = chosen(seen, best)
    assert torch.equal(picked[1, 2], seen[2, best[1][2]])


def lines_of(cast: Cast) -> list[dict[str, Any]]:
    """A card's measurements at tiny size; images for nobody in particular are one table."""
    mute = {"untouched": {"mean": [0.0, 0.1, 0.2], "std": [1.0, 1.0, 2.0]}, "seconds": 1.0}
    seen, features = pool_of()

    def line(row: str, values: Tensor, **about: Any) -> dict[str, Any]:
        return {"row": row, "seen": values.tolist(), **mute, **about}

    lines = [line(f"pool/{model}", seen) for model in ("base", "population")]
    lines += [line("model/base", random_seen(1, seed=8)), line("model/population", random_seen(1))]
    lines.append(line("taste: true", random_seen(seed=9), strength=2.0))
    lines.append(line("sweep", random_seen(2, seed=9), strength=2.0))
    lines.append(line("mix", random_seen(2, seed=11), strength=2.0, share=0.5))
    for row, by in (("rerank/base/true", "true"), ("rerank/base/everyone", "everyone")):
        index = choice(cast, by, seen, features)
        lines.append({"row": row, "pool": "base", "index": index, "seconds": 1.0})
    lines.append({"row": "null", "on the base": True, "seconds": 1.0})
    return lines


def test_the_card_says_the_numbers_that_were_measured(
    cast: Cast, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wins, "BOOTSTRAPS", 200)
    lines = lines_of(cast)
    found = content(Kept(lines=lines, tastes=cast.tastes), PROFILES)
    row = found["adapters"]["taste: true"]
    table = liked(random_seen(seed=9), cast.tastes)
    assert row["vs_others"]["rate"] == pytest.approx(float(against_others(table).mean()))
    base = liked(random_seen(1, seed=8), cast.tastes)[:, 0]
    assert row["gain"]["rate"] == pytest.approx(float((own(table) - base).mean()))
    assert row["drift"] == 0
    assert row["fidelity"] == pytest.approx(float(random_seen(seed=9)[..., -1].mean()))
    best = found["rerank"]["base"]["true"]["vs_everyones_choice"]["rate"]
    assert best >= 0.5
    assert [at["share"] for at in found["mix"]] == [0.0, 0.5, 1.0]
    ends = own(table)[[0, 2]] - base[[0, 2]]
    assert found["mix"][0]["first"]["rate"] == pytest.approx(float(ends.mean()))
    assert "taste: true | rerank/base/true" in found["head_to_head"]
    (tmp_path / "profiles.json").write_text(PROFILES.read_text())
    write_card(tmp_path, lines, cast.tastes, ABOUT)
    page = (tmp_path / "people.md").read_text()
    assert f"| the true taste | 2 | {row['vs_base']['rate']:.3f} (" in page
    assert (tmp_path / "people.png").read_bytes()[:4] == b"\x89PNG"
    assert "on the base: yes" in page


def test_only_bounds_above_one_half_on_both_sides_count_as_personal() -> None:
    high, wide = {"low": 0.51}, {"low": 0.5}
    assert bound({"vs_others": high, "vs_population": high})
    assert not bound({"vs_others": high, "vs_population": wide})
    assert not bound({"vs_others": wide, "vs_population": high})


class Counted:
    """Stands in for a studio, and counts what it is asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def shot(self, model: str, prompts: Sequence[str], **_: Any) -> dict[str, Any]:
        self.asked.append(model)
        return {"seen": random_seen(1, len(prompts)).tolist()}


def test_a_card_goes_on_where_it_was(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(ledger, "weights_of", lambda _: tmp_path / "weights")
    (tmp_path / "weights").write_bytes(b"one")

    def asked() -> tuple[Counted, Card]:
        card, studio = Card("short", tmp_path), Counted()
        card.studio = studio  # pyright: ignore[reportAttributeAccessIssue]
        first = card.shot("taste: true", "taste", strength=2.0)
        assert card.shot("taste: true", "taste", strength=2.0) is first
        assert first["strength"] == 2.0
        assert len(card.ledger.current()) == 1
        return studio, card

    assert asked()[0].asked == ["taste"]
    studio, card = asked()
    assert studio.asked == []
    (tmp_path / "weights").write_bytes(b"two")  # another training is another row
    assert card.ledger.current() == []
    card.shot("taste: true", "taste", strength=2.0)
    assert studio.asked == ["taste"]
    assert len(card.ledger.current()) == 1


def test_adapters_learn_on_the_population_and_are_measured_on_validation_people(
    tmp_path: Path,
) -> None:
    for name in RUNS:
        config = config_of(name, tmp_path)
        assert config.data is not None
        assert config.data.split == "train"
        if name != "population":
            assert config.model.init_lora == str(tmp_path / "population")
            assert config.users is not None
            assert (config.users.counter, config.users.held_out) == (1.0, "validation")


def test_the_page_of_an_empty_card_says_that_nothing_is_reached(cast: Cast) -> None:
    lines = [line for line in lines_of(cast) if line["row"].startswith(("pool", "model"))]
    found = content(Kept(lines=lines, tastes=cast.tastes), PROFILES)
    assert verdict({**ABOUT, **found, "adapters": {}})[0].endswith("none.")
    assert "## Panels" in markdown({**ABOUT, "people": 4, "seconds": 0, **found})
