"""Which pairs there are, which side a picture stands on, and what an answer means."""

import time
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import pytest

from diffpref.errors import DataError
from diffpref.rate import pool as pool_module
from diffpref.rate.pair import Pair, Picture, pair_of
from diffpref.rate.pool import Pool, every_two, shuffled
from diffpref.rate.question import asked
from diffpref.rate.sources import folder_pairs, record_pairs
from diffpref.rate.taste import Taste
from tests.rate.conftest import draw, pairs_of


def made_up(count: int) -> list[Picture]:
    return [Picture(key=bytes([row]) * 16, content=b"") for row in range(count)]


def test_every_two_different_pictures_of_a_prompt_are_a_pair() -> None:
    five = made_up(5)
    found = list(every_two([("a", five), ("b", [*five[:2], five[0]])], seed=0))
    named = [(pair.prompt, pair.first.key[0], pair.second.key[0]) for pair in found]
    assert named == [("a", *two) for two in combinations(range(5), 2)] + [("b", 0, 1)]
    assert len({pair.id for pair in found}) == 11


def test_too_many_pairs_are_drawn_by_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "MOST", 50)
    first, again, other = (
        [pair.id for pair in every_two([("a", made_up(30))], seed=seed)] for seed in (0, 0, 1)
    )
    assert first == again != other
    assert len(set(first)) == 50


def test_a_pairs_id_does_not_depend_on_the_order_of_its_pictures() -> None:
    one, two = made_up(2)
    assert pair_of("a", one, two).id == pair_of("a", two, one).id
    assert pair_of("a", one, two).id != pair_of("b", one, two).id
    assert pair_of("a", one, two, tag="0-0").id != pair_of("a", one, two, tag="0-1").id


def test_the_seed_shuffles_without_losing_any(pairs: list[Pair]) -> None:
    found = shuffled(pairs, seed=3)
    assert found == shuffled(pairs, seed=3) != pairs
    assert {pair.id for pair in found} == {pair.id for pair in pairs}


@pytest.mark.parametrize("seed", [0, 1])
def test_sides_are_even_and_depend_on_seed_and_pair_alone(seed: int) -> None:
    many = list(every_two([("a", made_up(40))], seed=0))
    sides = [asked(pair, seed=seed).left for pair in many]
    assert sides == [asked(pair, seed=seed).left for pair in many]
    assert sides != [asked(pair, seed=seed + 1).left for pair in many]
    assert 0.45 < sum(sides) / len(sides) < 0.55


def test_an_answer_means_the_picture_that_stood_there(pairs: list[Pair]) -> None:
    seen: set[int] = set()
    for pair in pairs:
        now = asked(pair, seed=0)
        seen.add(now.left)
        for choice, side in (("left", 0), ("right", 1)):
            liked = now.sides[side]
            assert dict(zip(pair.pictures, now.shares(choice), strict=True))[liked] == 1
        assert now.shares("tie") == (0.5, 0.5)
    assert seen == {0, 1}


def test_a_pool_grows_from_another_thread_and_says_when_it_is_done(pairs: list[Pair]) -> None:
    pool, steps = Pool(), iter(pairs)

    def parts() -> Iterator[list[Pair]]:
        for pair in steps:
            yield [pair, pair]

    pool.grow(parts())
    until = time.monotonic() + 10
    while pool.growing and time.monotonic() < until:
        time.sleep(0.01)
    assert not pool.growing
    assert pool.pairs() == pairs
    assert pool.fault is None


def test_what_stops_a_pool_from_growing_is_said(pairs: list[Pair]) -> None:
    pool = Pool()

    def parts() -> Iterator[list[Pair]]:
        yield pairs[:2]
        raise DataError("was made with another prompt", where="samples")

    pool.grow(parts())
    while pool.growing:
        time.sleep(0.01)
    assert len(pool) == 2
    assert pool.fault == "samples: was made with another prompt"


def test_pairs_with_a_damaged_picture_are_not_asked(
    tmp_path: Path, new_taste: object, caplog: pytest.LogCaptureFixture
) -> None:
    assert callable(new_taste)
    drawn = draw(tmp_path)
    (tmp_path / "00.png").write_bytes((tmp_path / "00.png").read_bytes()[:100])
    taste = new_taste()
    assert isinstance(taste, Taste)
    pool = Pool(check=taste.see)
    pool.add(pairs_of(drawn))
    assert len(pool) == 7
    assert "cannot be shown" in caplog.text


def test_a_folder_whose_pictures_share_no_prompt_is_refused_with_what_to_do(
    tmp_path: Path,
) -> None:
    drawn = draw(tmp_path, count=3)
    files = [file for _, file in drawn]
    with pytest.raises(DataError, match="share a prompt") as caught:
        folder_pairs(files, {file: text for text, file in drawn}, seed=0)
    assert "--prompt" in str(caught.value)
    assert len(folder_pairs(files, dict.fromkeys(files, "shapes"), seed=0)) == 3


def test_rows_of_any_data_set_become_pairs_without_their_votes(tmp_path: Path) -> None:
    found = record_pairs("builtin:pairs", split="test", limit=12)
    assert len(found) == 12
    assert all(pair.first.key != pair.second.key for pair in found)
    (tmp_path / "empty.jsonl").write_text('{"prompt": "a", "images": ["no.png"], "scores": [1]}\n')
    with pytest.raises(DataError, match="no pairs could be used"):
        record_pairs(str(tmp_path / "empty.jsonl"))
