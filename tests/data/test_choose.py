"""Scored images become pairs and lists by the rule that was asked for, and the rest is counted."""

import random
from collections import Counter
from itertools import combinations

import pytest

from diffpref.data.choose import MEANING, Choice, Dropped, Make, Rule, chosen
from diffpref.data.labels import LabelTable

Scores = dict[str, dict[str, tuple[float, ...]]]


def table(scores: Scores) -> LabelTable:
    flat = {(prompt, key): row for prompt, rows in scores.items() for key, row in rows.items()}
    columns = list(zip(*flat.values(), strict=True))
    scorers = {str(n): {"low": min(c), "high": max(c)} for n, c in enumerate(columns)}
    return LabelTable(header={"scorers": scorers, "n": len(flat)}, scores=flat, fingerprint="x")


ONE: Scores = {
    "p": {"a": (1.0,), "b": (11.0,), "c": (5.0,), "d": (6.0,)},
    "q": {"a": (3.0,), "b": (3.0,)},
    "r": {"a": (4.0,), "b": (4.5,)},
    "s": {"a": (0.0,)},
    "t": {"a": (10.0,), "b": (0.0,)},
}


def outcome(scores: Scores, rule: Rule) -> tuple[dict[str, list[str]], Counter[str]]:
    found = list(chosen(table(scores), rule))
    kept: dict[str, list[str]] = {}
    for each in found:
        if isinstance(each, Choice):
            kept.setdefault(each.prompt, []).append("".join(each.images))
    return kept, Counter(each.reason for each in found if isinstance(each, Dropped))


def test_a_pair_is_the_best_against_the_worst() -> None:
    assert outcome(ONE, Rule()) == (
        {"p": ["ba"], "r": ["ba"], "t": ["ab"]},
        {"tie": 1, "alone": 1},
    )
    found = [each for each in chosen(table(ONE), Rule()) if isinstance(each, Choice)]
    labels = [label for each in found for label in each.labels]
    assert labels == pytest.approx([1.0, 1 / 11, 4.5 / 11, 4 / 11, 10 / 11, 0.0])


def test_a_margin_is_a_share_of_the_scorers_range() -> None:
    # The range is 11: 0.5 is less than 0.05 of it, 1 is not.
    assert outcome(ONE, Rule(margin=0.05)) == (
        {"p": ["ba"], "t": ["ab"]},
        {"tie": 1, "alone": 1, "margin": 1},
    )
    kept, dropped = outcome(ONE, Rule(make="all-pairs", margin=0.1))
    assert kept == {"p": ["ba", "ca", "da", "bc", "bd"], "t": ["ab"]}
    assert dropped == {"margin": 2, "tie": 1, "alone": 1}


def test_a_list_is_every_image_from_best_to_worst() -> None:
    kept, dropped = outcome(ONE, Rule(make="lists", margin=0.05))
    assert kept == {"p": ["bdca"], "t": ["ab"]}
    assert dropped == {"tie": 1, "alone": 1, "margin": 1}
    many: Scores = {"p": {str(n): (float(n),) for n in range(65)}, "q": {"a": (0.0,), "b": (9.0,)}}
    assert outcome(many, Rule(make="lists")) == ({"q": ["ba"]}, {"many": 1})
    assert outcome(many, Rule())[0]["p"] == ["640"]


THREE: Scores = {
    "agreed": {"a": (0.0, 0.0, 0.0), "b": (1.0, 10.0, 100.0)},
    "most": {"a": (0.0, 0.0, 90.0), "b": (1.0, 10.0, 10.0)},
    "split": {"a": (0.0, 5.0, 90.0), "b": (1.0, 5.0, 10.0)},
    "close": {"a": (0.5, 5.0, 50.0), "b": (0.51, 5.1, 51.0)},
    "same": {"a": (0.5, 5.0, 50.0), "b": (0.5, 5.0, 50.0)},
}


def test_scorers_agree_all_or_most_of_them() -> None:
    assert outcome(THREE, Rule(margin=0.1)) == (
        {"agreed": ["ba"]},
        {"disagreement": 2, "margin": 1, "tie": 1},
    )
    assert outcome(THREE, Rule(margin=0.1, agree="majority")) == (
        {"agreed": ["ba"], "most": ["ba"]},
        {"disagreement": 1, "margin": 1, "tie": 1},
    )
    found = {each.prompt: each for each in chosen(table(THREE), Rule(agree="majority"))}
    most = found["most"]
    assert isinstance(most, Choice)
    assert most.labels == pytest.approx((2 / 3, 1 / 3))
    assert set(MEANING) == {"alone", "many", "tie", "margin", "disagreement"}


@pytest.mark.parametrize("agree", ["all", "majority"])
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_all_pairs_are_those_of_a_plain_loop(agree: str, count: int) -> None:
    draw = random.Random(count)
    scores: Scores = {
        p: {k: tuple(draw.choice([0.0, 1.0, 2.0, 5.0]) for _ in range(count)) for k in "abcde"}
        for p in "pqrs"
    }
    margin = 0.25
    columns = list(zip(*(row for rows in scores.values() for row in rows.values()), strict=True))
    spans = [max(column) - min(column) for column in columns]
    expected = set()
    for prompt, rows in scores.items():
        for a, b in combinations(rows, 2):
            for better, worse in ((a, b), (b, a)):
                votes = sum(
                    rows[better][n] - rows[worse][n] > margin * spans[n] for n in range(count)
                )
                if votes == count or (agree == "majority" and votes > count / 2):
                    expected.add((prompt, better, worse))
    rule = Rule(make="all-pairs", margin=margin, agree=agree)  # pyright: ignore[reportArgumentType]
    found = list(chosen(table(scores), rule))
    kept = {(each.prompt, *each.images) for each in found if isinstance(each, Choice)}
    assert kept == expected
    assert len(found) == 4 * 10


@pytest.mark.parametrize("make", ["pairs", "all-pairs", "lists"])
def test_labels_lie_in_0_1_and_fall_from_the_first_to_the_last(make: Make) -> None:
    draw = random.Random(0)
    for count in (1, 2, 3):
        scores: Scores = {
            str(p): {str(k): tuple(draw.gauss(0, 5) for _ in range(count)) for k in range(4)}
            for p in range(20)
        }
        found = list(chosen(table(scores), Rule(make=make, agree="majority")))
        rows = [each for each in found if isinstance(each, Choice)]
        assert rows
        for row in rows:
            assert 1 >= row.labels[0] > row.labels[-1] >= 0
            assert list(row.labels) == sorted(row.labels, reverse=True)
