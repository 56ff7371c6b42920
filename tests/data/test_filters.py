"""What a run leaves out, and how rows are counted."""

from dataclasses import replace

import pytest

from diffpref.data.filters import Filters, losers_of
from diffpref.data.records import BadRow, ImageRef, Record
from diffpref.data.report import Report, Tally, make_report

BAD = BadRow(file="f", line=1, row_id=None, column=None, code="c", reason="r")


def row(images: str, scores: tuple[float, ...], prompt: str = "p", **more: str) -> Record:
    """A record whose images are the letters of `images`."""
    refs = tuple(ImageRef(key=key) for key in images)
    return Record(prompt=prompt, images=refs, scores=scores, **more)


WIN, TIE = (1.0, 0.0), (0.5, 0.5)


def test_ties_are_dropped_or_kept_as_soft_labels() -> None:
    none: frozenset[bytes] = frozenset()
    assert Filters().refuse(row("ab", TIE), none) == "tie"
    assert Filters(ties="soft").refuse(row("ab", TIE), none) is None
    assert Filters().refuse(row("ab", WIN), none) is None
    assert Filters().refuse(row("abc", (1.0, 1.0, 0.0)), none) is None


def test_a_single_like_is_never_a_tie() -> None:
    assert Filters().refuse(row("a", (1.0,)), frozenset()) is None


def test_absolute_winners_won_here_and_lost_nowhere() -> None:
    rows = [
        row("ab", WIN),
        row("bc", WIN),
        row("ad", TIE),
        row("ce", WIN),
        row("ef", WIN, prompt="another prompt"),
    ]
    losers = losers_of([rows[0], BAD, *rows[1:]])
    filters = Filters(absolute_winners=True, ties="soft")
    reasons = [filters.refuse(each, losers) for each in rows]
    absent = "no absolute winner"
    assert reasons == [None, absent, absent, absent, None]


def test_the_best_of_a_ranked_list_must_be_an_absolute_winner() -> None:
    rows = [row("abc", (3.0, 2.0, 1.0)), row("da", WIN), row("bcd", (0.0, 1.0, 2.0))]
    losers = losers_of(rows)
    filters = Filters(absolute_winners=True)
    assert [filters.refuse(each, losers) is None for each in rows] == [False, True, True]


@pytest.mark.parametrize(
    ("made", "kept"),
    [
        (("dreamlike-art/Dreamlike-2.0", "dreamlike-x"), True),
        (("dreamlike-x", "sdxl"), False),
        (("dreamlike-x", None), False),
    ],
)
def test_generators_must_all_be_allowed(made: tuple[str | None, ...], kept: bool) -> None:
    images = tuple(ImageRef(key=str(n), generator=name) for n, name in enumerate(made))
    record = Record(prompt="p", images=images, scores=WIN)
    filters = Filters(generators=("Dreamlike",))
    assert (filters.refuse(record, frozenset()) is None) == kept
    assert filters.refuse(replace(record, source="dreamlike"), frozenset()) is None or not kept


def test_the_source_stands_in_for_a_missing_generator() -> None:
    filters = Filters(generators=("sdxl", "dreamlike"))
    assert filters.refuse(row("ab", WIN, source="SDXL 1.0"), frozenset()) is None
    assert filters.refuse(row("ab", WIN), frozenset()) == "generator"


def test_every_side_of_every_image_must_be_long_enough() -> None:
    filters = Filters(min_side=64)
    assert filters.refuse_sizes([(64, 80), (100, 64)]) is None
    assert filters.refuse_sizes([(64, 80), (100, 63)]) == "below min_side"
    assert Filters().refuse_sizes([(1, 1)]) is None


def counted(rows: list[Record]) -> Report:
    tally = Tally()
    for each in rows:
        tally.add(each.prompt, [image.key for image in each.images], each.scores, each.user)
    return make_report(tally, dropped={"tie": 2}, bad={"x": 1}, overlong=None)


def test_rows_prompts_images_and_people_are_counted() -> None:
    rows = [
        row("ab", WIN, user="ana"),
        row("bc", TIE, user="bo"),
        row("abc", (2.0, 1.0, 0.0), prompt="q", user="ana"),
        row("z", (1.0,)),
    ]
    report = counted(rows)
    assert (report.rows, report.kept, report.bad_rows) == (7, 4, 1)
    assert (report.prompts, report.images, report.users, report.ties) == (2, 4, 2, 1)
    assert report.by_k == {"1": 1, "2": 2, "3": 1}


def test_a_repeated_vote_is_a_duplicate_and_a_reversed_one_a_conflict() -> None:
    first = row("ab", WIN)
    assert counted([first, first]).duplicates == 1
    swapped = row("ba", (0.0, 1.0))
    assert (counted([first, swapped]).duplicates, counted([first, swapped]).conflicts) == (1, 0)
    against = row("ab", (0.0, 1.0))
    assert (counted([first, against]).duplicates, counted([first, against]).conflicts) == (0, 1)
    assert counted([first, row("ab", WIN, prompt="q")]).duplicates == 0
    assert counted([first, row("ab", TIE)]).conflicts == 0


def test_prompts_that_differ_in_unicode_form_only_are_the_same_prompt() -> None:
    composed, decomposed = row("ab", WIN, prompt="caf\u00e9"), row("ab", WIN, prompt="cafe\u0301")
    assert counted([composed, decomposed]).duplicates == 1


def test_long_captions_are_counted_exactly_with_a_tokenizer_and_from_below_without() -> None:
    tally = Tally()
    for words in (10, 75, 76, 200):
        tally.add(" ".join(["word"] * words), ["a"], (1.0,), None)
    least = make_report(tally, dropped={}, bad={}, overlong=None)
    assert (least.overlong, least.overlong_exact) == (2, False)
    exact = make_report(tally, dropped={}, bad={}, overlong=lambda prompts: len(prompts) - 1)
    assert (exact.overlong, exact.overlong_exact) == (3, True)
