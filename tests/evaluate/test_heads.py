"""Heads on the bundled people: exact truth, ceilings, recovered taste, few votes, the report."""

import re
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch

from diffpref.data.readers import open_records
from diffpref.data.records import Record
from diffpref.data.source_parts import first_rows
from diffpref.data.votes import read_votes
from diffpref.evaluate.figure import Curve, figure
from diffpref.evaluate.heads import measure, own_scores
from diffpref.evaluate.judged import judged
from diffpref.evaluate.known import Truth, attainable_taste, read_truth, through_features
from diffpref.evaluate.reward_report import Findings, figures, write_reward_report
from diffpref.evaluate.shots import shots
from diffpref.evaluate.taste import census, recovered
from diffpref.io import open_image
from diffpref.rewards import load_scorer
from diffpref.rewards.heads.division import divide
from diffpref.rewards.heads.embeddings import EmbeddingStore, fingerprint
from diffpref.rewards.heads.fit import fit_head
from diffpref.rewards.heads.head import EmbedderRef
from diffpref.rewards.heads.items import scales_of
from diffpref.rewards.heads.pairs import Pairs
from diffpref.rewards.heads.settings import FitSettings
from diffpref.rewards.inputs import to_pixels
from diffpref.types import PerRow
from diffpref.world.crowd import bundled_crowd
from diffpref.world.people import choice_probability, utility

ROWS = 120


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Pairs, list[str], Truth]:
    """The first rows of every part of the bundled pairs, embedded, with the truth."""
    sources = {
        part: first_rows(open_records("builtin:pairs", split=part), ROWS)
        for part in ("train", "validation", "test")
    }
    store = EmbeddingStore(tmp_path_factory.mktemp("cache"), load_scorer("world-reward"))
    votes = read_votes(sources, store)
    return votes.pairs, list(votes.parts), read_truth(sources, votes.pairs)


def first_record() -> Record:
    row = next(open_records("builtin:pairs", split="test").rows())
    assert isinstance(row, Record)
    return row


def test_the_truth_is_the_exact_utility_of_the_voter(world: tuple[Pairs, list[str], Truth]) -> None:
    pairs, parts, truth = world
    row = first_record()
    assert row.user is not None
    person = bundled_crowd()[row.user]
    pixels = torch.stack([to_pixels(open_image(i.content, where=""))[0] for i in row.images])
    worth = utility(pixels, (row.prompt, row.prompt), person.taste)
    at = parts.index("test")
    one = pairs.rows(torch.tensor([at]))
    assert float(truth.own(one)[0]) == pytest.approx(float(worth[0] - worth[1]), abs=1e-5)
    everyone = utility(pixels, (row.prompt, row.prompt))
    assert float(truth.everyone(one)[0]) == pytest.approx(
        float(everyone[0] - everyone[1]), abs=1e-5
    )
    chance = choice_probability(person, worth[:1], worth[1:])
    assert float(truth.probability(one)[0]) == pytest.approx(float(chance[0]), abs=1e-5)
    assert not bool(truth.values.isnan().any())


def test_bundled_votes_agree_with_the_truth_as_often_as_they_should(
    world: tuple[Pairs, list[str], Truth],
) -> None:
    pairs, _, truth = world
    found = judged(truth.own(pairs), pairs.share, torch.arange(len(pairs)))
    expected = judged(truth.own(pairs), truth.probability(pairs), torch.arange(len(pairs)))
    assert abs(found.accuracy - expected.accuracy) < 0.06
    assert expected.accuracy > 0.75


def test_everybody_knows_less_than_the_voter(world: tuple[Pairs, list[str], Truth]) -> None:
    pairs, parts, truth = world
    division = divide(pairs, parts, "user")
    asked = census(division.test, division.test.voters())
    chance = truth.probability(asked)
    seen = through_features(
        truth, division.train, division.test, scales_of(division.train.sides()[0])
    )
    votes = {name: division.support.of(name) for name in division.test.voters()}
    tastes = {name: attainable_taste(truth, mine) for name, mine in votes.items()}
    reached = {
        "own": judged(truth.own(asked), chance, asked.person).accuracy,
        "attainable": judged(truth.under(tastes, asked), chance, asked.person).accuracy,
        "embedding": judged(seen.own(asked), chance, asked.person).accuracy,
        "population": judged(truth.everyone(asked), chance, asked.person).accuracy,
        "scorer": judged(own_scores(asked), chance, asked.person).accuracy,
    }
    assert max(reached, key=lambda name: reached[name]) == "own"
    assert reached["attainable"] > reached["population"]
    assert 0.55 < reached["scorer"] < reached["own"]
    assert 0.55 < reached["embedding"] < reached["own"]


def test_a_person_without_votes_has_the_populations_taste_and_many_votes_show_theirs(
    world: tuple[Pairs, list[str], Truth],
) -> None:
    pairs, _, truth = world
    name = pairs.voters()[0]
    none = pairs.rows(torch.arange(0))
    assert torch.equal(attainable_taste(truth, none), truth.population)
    asked = census(pairs, [name])
    sure = Pairs(**{**vars(asked), "share": truth.probability(asked).float()})
    found = attainable_taste(truth, sure)
    gap = (found - truth.tastes[name]).norm()
    assert float(gap) < 0.5 * float((truth.population - truth.tastes[name]).norm())


def test_the_census_asks_every_person_every_two_pictures_of_a_prompt(
    world: tuple[Pairs, list[str], Truth],
) -> None:
    pairs, parts, _ = world
    test = pairs.rows(torch.tensor([part == "test" for part in parts]))
    asked = census(test, test.voters()[:3])
    prompts = len(test.prompt.unique())
    # four pictures of every prompt: six pairs, three people; the last prompt may have two
    assert len(asked) in {18 * prompts, 18 * prompts - 15}
    assert asked.voters() == test.voters()[:3]
    rows = set(zip(asked.first.tolist(), asked.second.tolist(), asked.person.tolist(), strict=True))
    assert len(rows) == len(asked)


def test_a_judge_with_the_true_taste_shows_it_and_one_without_people_shows_no_person(
    world: tuple[Pairs, list[str], Truth],
) -> None:
    pairs, _, truth = world
    asked = census(pairs, pairs.voters()[:6])
    exact = recovered(lambda p: 3 * truth.own(p), asked, truth)
    assert exact.cosine == pytest.approx(1, abs=1e-4)
    assert exact.personal == pytest.approx(1, abs=1e-4)
    assert torch.allclose(exact.shown, exact.true, atol=1e-3)
    shared = recovered(truth.everyone, asked, truth)
    assert shared.personal == 0
    assert 0.3 < shared.cosine < 0.99
    opposite = recovered(lambda p: -truth.own(p), asked, truth)
    assert opposite.cosine == pytest.approx(-1, abs=1e-4)


def test_shots_draw_so_many_votes_of_each_person_and_then_all(
    world: tuple[Pairs, list[str], Truth],
) -> None:
    pairs, parts, _ = world
    division = divide(pairs, parts, "user")
    sizes: list[set[int]] = []

    def learn(support: Mapping[str, Pairs]):
        sizes.append({len(votes) for votes in support.values()})
        assert all(set(votes.voters()) <= {name} for name, votes in support.items())

        def judge(asked: Pairs) -> PerRow:
            return torch.ones(len(asked))

        return judge

    found = shots(
        learn, division.support, division.test, division.test.share, counts=(0, 1), draws=2
    )
    assert [each.votes for each in found] == [0, 1, None]
    assert sizes[0] == {0}
    assert sizes[1] <= {0, 1}
    assert len(sizes) == 4
    assert len({each.judged.accuracy for each in found}) == 1


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del attrs
        self.tags.append(tag)


@pytest.fixture(scope="module")
def findings(world: tuple[Pairs, list[str], Truth]) -> Findings:
    pairs, parts, truth = world
    division = divide(pairs, parts, "user")
    scorer = load_scorer("world-reward")
    ref = EmbedderRef(scorer="world-reward", fingerprint=fingerprint(scorer.info))
    settings = FitSettings(groups=3, steps=30, batch=64, every=10)
    fitted = fit_head("lore", division.train, division.validation, settings, embedder=ref)
    measured = measure(fitted, division, "user", truth)
    assert set(measured.head.people) >= set(division.test.voters())
    assert measured.head.shared is fitted.head.shared
    return measured.findings


def test_a_head_is_measured_beside_what_anybody_could_reach(findings: Findings) -> None:
    names = [each.name for each in findings.contenders]
    assert names == [
        "lore",
        "lore, without their votes",
        "world-reward alone",
        "exact population",
        "exact taste, seen through the features",
        "attainable with these votes",
        "exact own utility",
    ]
    expected = {each.name: each.expected for each in findings.contenders if each.expected}
    assert max(expected, key=lambda name: expected[name].accuracy) == "exact own utility"
    assert [shot.votes for shot in findings.shots] == [0, 1, 3, 5, 10, None]
    # nobody's votes: the few-vote curve begins where the head without them is
    without = expected["lore, without their votes"]
    assert findings.shots[0].judged.accuracy == pytest.approx(without.accuracy)
    assert findings.shots[-1].judged.accuracy == pytest.approx(expected["lore"].accuracy)


def test_the_report_is_one_file_that_fetches_nothing(findings: Findings, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_reward_report(
        path, findings, title="<b>lore</b>", lead="few & fine", note="", details={"a": "<i>"}
    )
    text = path.read_text()
    page = Page()
    page.feed(text)
    assert page.tags.count("svg") == len(figures(findings)) == 5
    assert not {"script", "link", "img", "iframe"} & set(page.tags)
    assert "<b>lore" not in text
    assert "&lt;b&gt;lore" in text
    assert not re.search(r"https?://", text)
    assert page.tags.count("circle") > 8


def test_lines_and_dots_stand_where_their_numbers_say() -> None:
    line = Curve(name="line", points=[(0.0, 0.0), (10.0, 1.0)])
    dots = Curve(name="dots", points=[(5.0, 0.5)], dots=True)
    found = figure("t", "a", [line, dots], guide=((0.0, 0.0), (10.0, 1.0)))
    ends = [tuple(map(float, point.split(","))) for point in found.drawn[0].line.split()]
    middle = [float(each) for each in found.drawn[1].dots[0]]
    assert ends[0][0] < middle[0] < ends[1][0]
    assert ends[0][1] > middle[1] > ends[1][1]
    assert middle == pytest.approx([(a + b) / 2 for a, b in zip(*ends, strict=True)], abs=0.1)
    assert [float(each) for each in found.guide] == pytest.approx([*ends[0], *ends[1]])
    assert found.drawn[0].last == "1"
