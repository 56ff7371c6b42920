"""Rows of preference data as embedded pairs."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from diffpref.data.labelling import make_table
from diffpref.data.readers import RecordSource
from diffpref.data.readers.reader import Ask, Reader
from diffpref.data.records import ImageRef, Row
from diffpref.data.scored import scored_votes
from diffpref.data.source_parts import first_rows
from diffpref.data.votes import read_votes
from diffpref.errors import DataError
from diffpref.rewards.heads.embeddings import EmbeddingStore, content_key
from diffpref.rewards.heads.pairs import NOBODY
from diffpref.rewards.inputs import to_pixels
from diffpref.rewards.scorer import LoadedScorer
from tests.data.makers import pair, png
from tests.rewards.heads.test_embeddings import INFO, Toy


def source_of(rows: Iterable[Row]) -> RecordSource:
    kept = list(rows)
    reader = Reader(
        summary="rows in memory",
        knows=lambda _: False,
        rows=lambda _, ask: iter(kept[ask.start :]),
        count=lambda _, ask: len(kept) - ask.start,
        stamp=lambda _, ask: str((len(kept), ask)),
    )
    return RecordSource(name="rows", source="", format="memory", split="train", reader=reader)


def store_in(folder: Path) -> EmbeddingStore:
    return EmbeddingStore(folder, LoadedScorer(Toy()))


def test_a_row_of_two_is_a_pair_with_the_share_of_its_votes(tmp_path: Path) -> None:
    rows = [
        pair(1, user="ana"),
        pair(2, user="bob", scores=(0.0, 1.0)),
        pair(3, scores=(0.5, 0.5)),
        pair(4, user="ana", scores=(0.3, 0.7), weight=2.0),
        pair(5, user="bob", scores=(7.0, 3.0)),
    ]
    votes = read_votes({"train": source_of(rows)}, store_in(tmp_path))
    pairs = votes.pairs
    assert pairs.share.tolist() == pytest.approx([1.0, 0.0, 0.5, 0.3, 1.0])
    assert pairs.people == ("ana", "bob")
    assert pairs.person.tolist() == [0, 1, NOBODY, 0, 1]
    assert pairs.weight.tolist() == [1, 1, 1, 2, 1]
    assert pairs.texts == tuple(row.prompt for row in rows)
    assert votes.parts == ("train",) * 5
    assert votes.bad == ()
    for place, row in enumerate(rows):
        first, second = pairs.sides()
        for side, image in zip((first, second), row.images, strict=True):
            data = image.content
            assert isinstance(data, bytes)
            expected = Toy().embed_seen(torch.stack(to_pixels(data)))[0]
            assert torch.allclose(side.image[place], expected)
        assert torch.allclose(first.prompt[place], Toy().embed_prompts([row.prompt])[0])


def test_a_row_of_k_images_is_every_two_of_them(tmp_path: Path) -> None:
    pairs = read_votes(
        {"train": source_of([pair(1, scores=(2.0, 9.0, 2.0))])}, store_in(tmp_path)
    ).pairs
    assert list(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)) == [
        (0, 1),
        (0, 2),
        (1, 2),
    ]
    assert pairs.share.tolist() == [0.0, 0.5, 1.0]


def test_a_picture_of_several_rows_is_embedded_once(tmp_path: Path) -> None:
    toy, one = Toy(), pair(1)
    other = replace(pair(2), images=(one.images[0], pair(2).images[1]))
    store = EmbeddingStore(tmp_path, LoadedScorer(toy))
    pairs = read_votes({"train": source_of([one, other])}, store).pairs
    assert sum(toy.shown) == 3
    # for each of its two prompts it is an item of its own: scores of it may differ
    assert len(pairs.images) == 4
    assert pairs.first.tolist() == [0, 2]
    assert pairs.keys[0] == pairs.keys[2] == content_key(png(10))
    assert torch.equal(pairs.images[0], pairs.images[2])


def test_unreadable_images_and_bad_rows_are_counted_and_left_out(tmp_path: Path) -> None:
    broken = replace(pair(1), images=(ImageRef(key="x", data=b"no image"), pair(1).images[1]))
    missing = replace(
        pair(2), images=(ImageRef(key="y", path=tmp_path / "absent.png"), pair(2).images[1])
    )
    bad = pair(3).bad("row-bad-score", "not finite")
    votes = read_votes({"train": source_of([broken, missing, bad, pair(4)])}, store_in(tmp_path))
    assert len(votes.pairs) == 1
    assert len(votes.bad) == 3


def test_parts_and_a_limit_of_rows(tmp_path: Path) -> None:
    parts = {"train": source_of(map(pair, range(5))), "test": source_of(map(pair, range(9, 12)))}
    some = {part: first_rows(source, 2) for part, source in parts.items()}
    assert [each.count() for each in some.values()] == [2, 2]
    assert some["train"].stamp() != parts["train"].stamp()
    assert len(list(some["train"].rows(start=1))) == 1
    told: list[tuple[int, int | None]] = []
    votes = read_votes(
        some, store_in(tmp_path), progress=lambda done, total: told.append((done, total))
    )
    assert votes.parts == ("train", "train", "test", "test")
    assert told == [(2, 4), (4, 4)]


def test_a_source_without_pairs_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"rows: no pairs could be used\n.*two or more images"):
        read_votes({"train": source_of([pair(1, scores=(1.0,))])}, store_in(tmp_path))


def test_scored_pictures_stand_where_embeddings_would(tmp_path: Path) -> None:
    rows = [pair(n, user="ana") for n in range(3)] + [pair(7, user="bob")]
    source = source_of(rows)
    toy = LoadedScorer(Toy())
    other = LoadedScorer(Toy(info=replace(INFO, name="toy2")))
    table, _ = make_table(source_of(rows[:3]), [toy, other], tmp_path / "t.jsonl")
    votes = scored_votes({"train": source}, {"train": table})
    assert len(votes.pairs) == 3
    assert len(votes.bad) == 1
    assert votes.pairs.images.shape[1] == 2
    for place, row in enumerate(rows[:3]):
        expected = toy.score([image.content for image in row.images], row.prompt).values
        found = votes.pairs.images[[votes.pairs.first[place], votes.pairs.second[place]], 0]
        assert torch.allclose(found, expected, atol=1e-6)
    with pytest.raises(DataError, match="no pairs could be used"):
        scored_votes({"train": source_of([pair(9)])}, {"train": table})


def test_the_reader_is_asked_for_pixels_only_where_they_are_needed(tmp_path: Path) -> None:
    asked: list[Ask] = []
    source = source_of([pair(1)])
    plain = source.reader

    def rows(place: str, ask: Ask) -> Iterable[Row]:
        asked.append(ask)
        return plain.rows(place, ask)

    watched = replace(source, reader=replace(plain, rows=rows))
    table, _ = make_table(watched, [LoadedScorer(Toy())], tmp_path / "t.jsonl")
    scored_votes({"train": watched}, {"train": table})
    assert [each.pixels for each in asked] == [True, False]
