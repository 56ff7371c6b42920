"""The journal and the pairs it amounts to."""

import json
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffpref.data.readers import open_records
from diffpref.data.records import Record
from diffpref.errors import DataError, DiskError, UsageError
from diffpref.io import Journal
from diffpref.rate import book as book_module
from diffpref.rate.book import JOURNAL, VIEW, Book
from diffpref.rate.entries import fold
from diffpref.rate.pair import Pair
from tests.rate.conftest import draw, lines, pairs_of


def rows_of(folder: Path) -> list[Record]:
    rows = list(open_records(str(folder)).rows())
    assert all(isinstance(row, Record) for row in rows), rows
    return [row for row in rows if isinstance(row, Record)]


def test_a_vote_is_a_row_of_the_one_schema_with_nonce_side_and_time(
    tmp_path: Path, pairs: list[Pair]
) -> None:
    book = Book(tmp_path / "out", user="ana")
    book.vote(pairs[0], (0.0, 1.0), nonce="n1", left=1)
    book.vote(pairs[1], (0.5, 0.5), nonce="n2", left=0)
    first = lines(tmp_path / "out")[0]
    assert set(first) == {"prompt", "images", "scores", "user", "id", "nonce", "left", "time"}
    assert (first["left"], first["nonce"], first["id"]) == (1, "n1", pairs[0].id)
    one, two = rows_of(tmp_path / "out")
    assert (one.prompt, one.scores, one.user) == (pairs[0].prompt, (0.0, 1.0), "ana")
    assert one.images[0].content.read_bytes() == pairs[0].first.data  # type: ignore[union-attr]
    assert two.tied


def test_pictures_inside_the_folder_stay_and_others_are_copied_once(tmp_path: Path) -> None:
    out = tmp_path / "out"
    inside, outside = pairs_of(draw(out / "samples")), pairs_of(draw(tmp_path / "far", seed=5))
    book = Book(out)
    book.vote(inside[0], (1.0, 0.0), nonce="a", left=0)
    book.vote(outside[0], (1.0, 0.0), nonce="b", left=0)
    book.vote(outside[1], (1.0, 0.0), nonce="c", left=0)
    names = [row["images"] for row in lines(out)]
    assert names[0] == ["samples/00.png", "samples/03.png"]
    assert names[1][0] == names[2][0]
    assert len(list((out / "images").iterdir())) == 3
    assert len(rows_of(out)) == 3


def test_undo_only_adds_a_line_and_the_pairs_no_longer_hold_the_vote(
    tmp_path: Path, pairs: list[Pair]
) -> None:
    book = Book(tmp_path)
    for number in range(3):
        book.vote(pairs[number], (1.0, 0.0), nonce=f"n{number}", left=0)
    before = (tmp_path / JOURNAL).read_bytes()
    book.undo("n1")
    after = (tmp_path / JOURNAL).read_bytes()
    assert after.startswith(before)
    assert lines(tmp_path)[-1]["undo"] == "n1"
    assert [row.id for row in rows_of(tmp_path)] == [pairs[0].id, pairs[2].id]
    with pytest.raises(KeyError):
        book.undo("n1")


def test_a_book_opened_again_holds_what_stands(tmp_path: Path, pairs: list[Pair]) -> None:
    book = Book(tmp_path)
    book.vote(pairs[0], (1.0, 0.0), nonce="n0", left=0)
    book.skip(pairs[1], nonce="n1")
    book.vote(pairs[2], (0.0, 1.0), nonce="n2", left=1)
    book.undo("n0")
    book.close()
    (tmp_path / VIEW).unlink()
    again = Book(tmp_path)
    assert [each.nonce for each in again.mine()] == ["n1", "n2"]
    assert [each.skipped for each in again.mine()] == [True, False]
    assert [row.id for row in rows_of(tmp_path)] == [pairs[2].id]


def test_a_line_torn_by_a_kill_is_ignored_and_never_glued_to_the_next(
    tmp_path: Path, pairs: list[Pair], caplog: pytest.LogCaptureFixture
) -> None:
    book = Book(tmp_path)
    book.vote(pairs[0], (1.0, 0.0), nonce="n0", left=0)
    book.close()
    with (tmp_path / JOURNAL).open("ab") as file:
        file.write(b'{"prompt": "two red cir')
    again = Book(tmp_path)
    again.vote(pairs[1], (1.0, 0.0), nonce="n1", left=0)
    again.close()
    assert [each.nonce for each in Book(tmp_path).mine()] == ["n0", "n1"]
    assert "line skipped" in caplog.text


@pytest.mark.parametrize(
    "line",
    [
        {"nonce": "x"},
        {"nonce": 3, "id": "y", "skip": True},
        {"nonce": "x", "id": "y", "prompt": "p", "images": ["a", "b"], "scores": [1, 1]},
        {"nonce": "x", "id": "y", "prompt": "p", "images": ["a"], "scores": [1]},
        {"nonce": "x", "id": "y", "prompt": "p", "images": ["a", 2], "scores": [1, 0]},
        {"nonce": "x", "id": "y", "user": 4, "skip": True},
        {"undo": "never given"},
    ],
)
def test_lines_that_are_no_answer_change_nothing(line: dict[str, object]) -> None:
    assert fold([line]).alive == {}


OPS = st.lists(st.tuples(st.sampled_from("vsu"), st.integers(0, 5)), max_size=25)


@given(OPS)
def test_folding_is_what_a_list_with_undo_would_be(ops: list[tuple[str, int]]) -> None:
    """Each step is told twice, as a network that repeats requests would."""
    rows: list[dict[str, object]] = []
    stack: list[str] = []
    for step, (kind, pick) in enumerate(ops):
        nonce = f"n{step}"
        if kind == "u":
            gone = f"n{pick}"
            rows += [dict[str, object](undo=gone)] * 2
            stack = [each for each in stack if each != gone]
            continue
        row: dict[str, object] = {"nonce": nonce, "id": f"p{pick}"}
        vote = {"prompt": "p", "images": ["a", "b"], "scores": [1, 0]}
        rows += [row | (vote if kind == "v" else {"skip": True})] * 2
        stack.append(nonce)
    assert list(fold(rows).alive) == stack


def test_two_people_share_a_folder_without_seeing_each_other(
    tmp_path: Path, pairs: list[Pair]
) -> None:
    ana = Book(tmp_path, user="ana")
    ana.vote(pairs[0], (1.0, 0.0), nonce="n0", left=0)
    ana.close()
    ben = Book(tmp_path, user="ben")
    assert ben.mine() == []
    ben.vote(pairs[0], (0.0, 1.0), nonce="n1", left=0)
    assert [row.user for row in rows_of(tmp_path)] == ["ana", "ben"]


def test_one_page_writes_a_folder_at_a_time(tmp_path: Path) -> None:
    book = Book(tmp_path)
    with pytest.raises(DataError, match="another rating page"):
        Book(tmp_path)
    book.close()
    Book(tmp_path).close()


def test_a_folder_with_another_data_set_is_refused(tmp_path: Path) -> None:
    (tmp_path / "metadata.jsonl").touch()
    with pytest.raises(UsageError, match=r"metadata\.jsonl"):
        Book(tmp_path)


def test_a_vote_is_kept_when_only_the_pairs_file_cannot_be_written(
    tmp_path: Path, pairs: list[Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    book = Book(tmp_path)
    book.vote(pairs[0], (1.0, 0.0), nonce="n0", left=0)

    def full(*_: object) -> None:
        raise DiskError("the disk is full")

    monkeypatch.setattr(book_module, "write_atomic", full)
    book.undo("n0")
    assert fold(Journal(tmp_path / JOURNAL).read()).alive == {}
    monkeypatch.undo()
    book.close()
    Book(tmp_path)
    assert (tmp_path / VIEW).read_text() == ""


def test_a_vote_that_is_not_stored_is_not_believed(
    tmp_path: Path, pairs: list[Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    book = Book(tmp_path)

    def full(*_: object) -> None:
        raise DiskError("the disk is full")

    monkeypatch.setattr(Journal, "append", full)
    with pytest.raises(DiskError):
        book.vote(pairs[0], (1.0, 0.0), nonce="n0", left=0)
    assert book.mine() == []
    assert not (tmp_path / VIEW).exists()


def test_a_revealed_study_stays_revealed(tmp_path: Path) -> None:
    book = Book(tmp_path)
    assert not book.revealed
    book.reveal()
    book.close()
    assert Book(tmp_path).revealed
    assert json.loads((tmp_path / JOURNAL).read_text())["revealed"] is True


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps no such permissions")
def test_a_new_folder_of_votes_is_its_owners_alone(tmp_path: Path) -> None:
    Book(tmp_path / "votes").close()
    assert stat.S_IMODE((tmp_path / "votes").stat().st_mode) == 0o700
