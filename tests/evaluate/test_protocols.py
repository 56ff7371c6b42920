"""Every protocol against its rule written again by another road, by hand, and at ties."""

import itertools
from collections.abc import Sequence
from math import exp

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from diffpref.errors import DataError, UsageError
from diffpref.evaluate.accuracy import measure
from diffpref.evaluate.bootstrap import bootstrap_means, bootstrap_ratio
from diffpref.evaluate.protocols import PROTOCOLS, Judged
from diffpref.evaluate.protocols.hpdv2 import hpdv2_inversion
from diffpref.evaluate.protocols.imagereward import imagereward_micro, imagereward_per_prompt
from diffpref.evaluate.protocols.pickapic import THRESHOLDS, pickapic_v1_paper
from diffpref.evaluate.protocols.strict import strict_pairs

FEW = 200
"""Resamples where the interval is not looked at."""


def item(labels: Sequence[float], scores: Sequence[float], prompt: str = "p") -> Judged:
    return Judged(
        prompt=prompt, labels=tuple(map(float, labels)), scores=tuple(map(float, scores)), where="f"
    )


levels = st.integers(-3, 3).map(float)
"""Few levels, so that ties are common."""


Raw = tuple[list[tuple[float, float]], str]
"""(label, score) of each image, and the prompt: checked types draw random numbers of their own,
which a strategy must not, so a test makes its items itself."""


def lists(least: int = 2, most: int = 6) -> st.SearchStrategy[Raw]:
    images = st.lists(st.tuples(levels, levels), min_size=least, max_size=most)
    return st.tuples(images, st.sampled_from("abc"))


def made(raw: Raw) -> Judged:
    images, prompt = raw
    return item([label for label, _ in images], [score for _, score in images], prompt)


def paper_words(row: Judged, threshold: float, temperature: float) -> float:
    """PickScore's evaluation in its own terms: words for label and prediction, then a table."""
    weights = [exp(score / temperature) for score in row.scores]
    first, second = (weight / sum(weights) for weight in weights)
    label = {0.0: "tie", 1.0: "first", -1.0: "second"}[
        float(torch.tensor(row.labels[0] - row.labels[1]).sign())
    ]
    bigger = "first" if first > second else "second"
    said = "tie" if abs(second - first) <= threshold else bigger
    return {1: 1.0, 2: 0.5 if "tie" in {label, said} else 0.0}[len({label, said})]


def ranks(values: Sequence[float]) -> list[int]:
    """1 is best; equal values are told apart by position."""
    order = sorted(range(len(values)), key=lambda i: (-values[i], i))
    return [order.index(i) + 1 for i in range(len(values))]


def discordant(row: Judged) -> int:
    """Count inversions between predicted ranks and label ranks by a sign matrix."""
    said = torch.tensor(ranks(row.scores))
    told = torch.tensor([sum(other > label for other in row.labels) for label in row.labels])
    signs = (said[:, None] - said).sign() * (told[:, None] - told).sign()
    return int((signs == -1).sum()) // 2


def ordered(row: Judged) -> tuple[int, int]:
    """(right, untied) pairs, by sign matrices."""
    label, score = torch.tensor(row.labels), torch.tensor(row.scores)
    told, said = (label[:, None] - label).sign(), (score[:, None] - score).sign()
    return int(((told == said) & (told != 0)).sum()) // 2, int((told != 0).sum()) // 2


@given(st.lists(lists(2, 2), min_size=1, max_size=8), st.sampled_from(THRESHOLDS))
def test_the_paper_accuracy_is_the_mean_of_its_table_of_words(
    raws: list[Raw], threshold: float
) -> None:
    for row in map(made, raws):
        found = pickapic_v1_paper(row, threshold=threshold, temperature=0.7)
        assert found.right == paper_words(row, threshold, 0.7)
        assert found.of == 1


@given(lists())
def test_inversions_are_discordant_pairs_of_two_rankings(raw: Raw) -> None:
    row = made(raw)
    expected = 1 - discordant(row) / row.pairs
    assert hpdv2_inversion(row).right == pytest.approx(expected)


@given(lists())
def test_strict_pairs_count_the_signs_that_agree(raw: Raw) -> None:
    row = made(raw)
    assert strict_pairs(row)[:2] == ordered(row)


@given(st.lists(lists(), min_size=1, max_size=6))
def test_pooled_and_per_list_accuracies_are_ratios_of_the_same_counts(raws: list[Raw]) -> None:
    rows = list(map(made, raws))
    counts = [ordered(row) for row in rows if ordered(row)[1]]
    if not counts:
        for name in ("imagereward_micro", "imagereward_per_prompt", "strict_pairs"):
            with pytest.raises(DataError, match="nothing to compare"):
                measure(name, rows, bootstraps=FEW)
        return
    micro = measure("imagereward_micro", rows, bootstraps=FEW)
    each = measure("imagereward_per_prompt", rows, bootstraps=FEW)
    right, of = map(sum, zip(*counts, strict=True))
    assert micro.value == pytest.approx(right / of)
    assert each.value == pytest.approx(sum(r / n for r, n in counts) / len(counts))
    assert (micro.pairs, micro.items, micro.left_out) == (of, len(counts), len(rows) - len(counts))
    strict = measure("strict_pairs", rows, bootstraps=FEW)
    assert (strict.value, strict.low, strict.high) == (micro.value, micro.low, micro.high)


@given(lists())
def test_only_the_order_of_scores_counts_for_ranked_lists(raw: Raw) -> None:
    row = made(raw)
    stretched = item(row.labels, [exp(score) - 7 for score in row.scores])
    for rule in (hpdv2_inversion, imagereward_micro, imagereward_per_prompt, strict_pairs):
        assert rule(row) == rule(stretched)


@given(st.permutations(range(5)), st.permutations(range(5)))
def test_without_ties_all_protocols_of_ranked_lists_say_the_same(
    labels: list[int], scores: list[int]
) -> None:
    row = item(labels, scores)
    names = [name for name, each in PROTOCOLS.items() if not each.two_images]
    assert len({round(measure(n, [row], bootstraps=FEW).value, 12) for n in names}) == 1


def test_a_ranked_list_worked_by_hand() -> None:
    """Ranks 1 2 2 4; scores order them 2 1 3 4, with the last two equal."""
    row = item([4, 3, 3, 1], [0.5, 0.9, 0.1, 0.1])
    # Pairs: (1,2) wrong, (1,3) right, (1,4) right, (2,3) tied by people, (2,4) right,
    # (3,4) equal scores: wrong when strict; image 3 stands first, so no inversion.
    assert imagereward_micro(row) == strict_pairs(row) == (3.0, 5.0, 1)
    assert imagereward_per_prompt(row) == (3 / 5, 1.0, 1)
    assert hpdv2_inversion(row) == (1 - 1 / 6, 1.0, 1)


def test_equal_scores_keep_the_order_of_the_images_in_the_inversion_rule() -> None:
    assert hpdv2_inversion(item([2, 1], [0, 0])).right == 1
    assert hpdv2_inversion(item([1, 2], [0, 0])).right == 0
    assert strict_pairs(item([2, 1], [0, 0])).right == 0


@pytest.mark.parametrize(
    ("labels", "scores", "threshold", "right"),
    [
        ((1, 0), (2, 0), 0.7, 1.0),  # tanh(1) = 0.762 exceeds 0.7
        ((1, 0), (2, 0), 0.8, 0.5),  # called a tie, people saw a winner
        ((0, 1), (2, 0), 0.7, 0.0),
        ((0.5, 0.5), (2, 0), 0.7, 0.5),  # people tied, a winner is called
        ((0.5, 0.5), (2, 0), 0.8, 1.0),
        ((1, 0), (3, 3), 0.0, 0.5),  # equal scores are a tie even at 0
        ((0.5, 0.5), (50, 0), 1.0, 1.0),  # at 1 everything is a tie
    ],
)
def test_a_pair_of_the_paper_worked_by_hand(
    labels: tuple[float, float], scores: tuple[float, float], threshold: float, right: float
) -> None:
    found = pickapic_v1_paper(item(labels, scores), threshold=threshold, temperature=1.0)
    assert found.right == right


def test_the_threshold_is_the_best_of_the_validation_set() -> None:
    """Probabilities differ by tanh(gap / 2): 0.245 and 0.762 here."""
    close, wide = (0.5, 0.0), (2.0, 0.0)
    validation = [item((0.5, 0.5), close), item((0.5, 0.5), close), item((1, 0), wide)]
    # 0, .1, .2: (1/2 + 1/2 + 1) / 3; .3 to .7: 3 / 3; .8 on: (1 + 1 + 1/2) / 3
    test = [item((1, 0), close, "a"), item((0, 1), wide, "b"), item((0.5, 0.5), close, "c")]
    found = measure("pickapic_v1_paper", test, validation=validation, bootstraps=FEW)
    assert (found.threshold, found.tuned_to) == (0.3, 1.0)
    assert found.value == pytest.approx((0.5 + 0 + 1) / 3)
    assert (found.pairs, found.label_ties, found.score_ties, found.prompts) == (3, 1, 2, 3)


def test_the_smallest_of_equally_good_thresholds_is_taken() -> None:
    validation = [item((1, 0), (9, 0))]
    found = measure("pickapic_v1_paper", validation, validation=validation, bootstraps=FEW)
    assert found.threshold == 0.0


def test_the_temperature_is_the_scorers_own() -> None:
    rows = [item((1, 0), (2, 0))]
    soft = pickapic_v1_paper(rows[0], threshold=0.5, temperature=10.0)
    sharp = pickapic_v1_paper(rows[0], threshold=0.5, temperature=1.0)
    assert (soft.right, sharp.right) == (0.5, 1.0)


def test_a_tuned_protocol_wants_a_validation_set_and_two_images() -> None:
    with pytest.raises(UsageError, match="tuned on a validation set"):
        measure("pickapic_v1_paper", [item((1, 0), (1, 0))])
    three = item((1, 0, 0), (1, 0, 0))
    pair = item((1, 0), (1, 0))
    with pytest.raises(DataError, match="compares two images a row, f has 3"):
        measure("pickapic_v1_paper", [three], validation=[pair])
    with pytest.raises(DataError, match="validation compares two images"):
        measure("pickapic_v1_paper", [pair], validation=[three])


def test_single_images_are_left_out_and_alone_refused() -> None:
    rows = [item((1,), (3,)), item((1, 0), (1, 0))]
    found = measure("hpdv2_inversion", rows, bootstraps=FEW)
    assert (found.items, found.left_out, found.value) == (1, 1, 1.0)
    with pytest.raises(DataError, match="two images or more"):
        measure("hpdv2_inversion", rows[:1])


def test_an_unknown_protocol_gives_the_nearest_one() -> None:
    with pytest.raises(UsageError, match="did you mean 'strict_pairs'"):
        measure("strict_pair", [item((1, 0), (1, 0))])


def test_rows_of_one_prompt_are_resampled_together() -> None:
    """Every prompt twice: the interval is that of the prompts once, not of twice as many."""
    once = [item((1, 0), (1, 0) if n < 8 else (0, 1), prompt=str(n)) for n in range(10)]
    one, two = (measure("strict_pairs", rows) for rows in (once, once + once))
    assert (one.value, one.low, one.high) == (two.value, two.low, two.high)
    assert (one.prompts, two.prompts, two.pairs) == (10, 10, 20)


def test_the_pairs_of_a_prompts_rows_are_pooled_before_prompts_are_resampled() -> None:
    rows = [item((1, 0), (1, 0), prompt=str(n % 6)) for n in range(12)]
    rows += [item((2, 1, 0), (0, 1, 2), prompt=str(n)) for n in range(3)]
    # Prompts 0 to 2 have two right pairs of five, prompts 3 to 5 two of two.
    found = measure("strict_pairs", rows)
    assert found.value == pytest.approx(12 / 21)
    right, of = torch.full((6,), 2.0).double(), torch.tensor([5.0, 5, 5, 2, 2, 2]).double()
    assert (found.low, found.high) == bootstrap_ratio(right, of)


def test_the_interval_of_a_ratio_is_that_of_all_resamples() -> None:
    """Three prompts have 27 equally likely resamples, so the percentiles are known."""
    top, bottom = torch.tensor([1.0, 6.0, 0.0]), torch.tensor([4.0, 6.0, 1.0])
    ratios = sorted(
        float(top[list(chosen)].sum() / bottom[list(chosen)].sum())
        for chosen in itertools.product(range(3), repeat=3)
    )
    low, high = bootstrap_ratio(top.double(), bottom.double())
    # 2.5 % of 27 lies within the first resample, 97.5 % within the last.
    assert (low, high) == pytest.approx((ratios[0], ratios[-1]))
    assert (ratios[0], ratios[-1]) == (0.0, 1.0)


def test_the_interval_of_a_ratio_with_equal_bottoms_is_that_of_the_mean() -> None:
    values = torch.rand(40, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    (expected,) = bootstrap_means(values[None])
    found = bootstrap_ratio(3 * values, torch.full_like(values, 3))
    assert found == pytest.approx(expected)


def test_the_interval_of_many_lists_is_the_one_of_the_delta_method() -> None:
    """Lists of different lengths: the spread of a ratio, to first order."""
    rng = torch.Generator().manual_seed(3)
    of = torch.randint(1, 30, (800,), generator=rng).double()
    right = (of * torch.rand(800, generator=rng, dtype=torch.float64)).round()
    ratio = float(right.sum() / of.sum())
    spread = float((right - ratio * of).std() / of.mean()) / 800**0.5
    found = bootstrap_ratio(right, of)
    assert found.low == pytest.approx(ratio - 1.96 * spread, abs=0.1 * spread)
    assert found.high == pytest.approx(ratio + 1.96 * spread, abs=0.1 * spread)
