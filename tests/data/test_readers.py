"""Formats of files and folders, recognised by their content."""

import json
from pathlib import Path

import pytest

from diffpref.data.readers import GROUP, READERS, open_records
from diffpref.data.readers.jsonl import JSONL
from diffpref.data.records import BadRow, Record, RowCode
from diffpref.errors import DataError, UsageError
from diffpref.io import TextCode
from tests.data.makers import codes, good, png, write_lines


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for seed in range(4):
        (tmp_path / f"{seed}.png").write_bytes(png(seed))
    return tmp_path


def line(*images: int, **more: object) -> dict[str, object]:
    scores = [1, *[0] * (len(images) - 1)]
    return {"prompt": "a boat", "images": [f"{i}.png" for i in images], "scores": scores, **more}


def test_a_jsonl_file_and_its_folder_give_the_same_rows(folder: Path) -> None:
    path = write_lines(folder / "pairs.jsonl", [line(0, 1), line(2, 3)])
    by_file, by_folder = open_records(str(path)), open_records(str(folder))
    assert by_file.format == by_folder.format == "jsonl"
    assert list(by_file.rows()) == list(by_folder.rows())
    assert by_file.count() == 2


def test_metadata_jsonl_comes_before_other_files_of_a_folder(folder: Path) -> None:
    write_lines(folder / "other.jsonl", [line(0, 1)])
    write_lines(folder / "metadata.jsonl", [line(2, 3)])
    (record,) = good(list(open_records(str(folder)).rows()))
    assert record.file == "metadata.jsonl"


def test_windows_line_ends_blank_lines_and_a_byte_order_mark_are_fine(folder: Path) -> None:
    text = "\ufeff" + json.dumps(line(0, 1)) + "\r\n\r\n" + json.dumps(line(2, 3)) + "\r\n"
    (folder / "pairs.jsonl").write_bytes(text.encode())
    source = open_records(str(folder / "pairs.jsonl"))
    assert [row.line for row in source.rows()] == [1, 3]
    assert source.count() == 2


def test_reading_may_start_at_any_row(folder: Path) -> None:
    rows = [line(0, 1), "{broken", line(2, 3), line(1, 2), line(0, 3)]
    source = open_records(str(write_lines(folder / "pairs.jsonl", rows)))
    whole = list(source.rows())
    assert all(list(source.rows(start=start)) == whole[start:] for start in range(6))


def test_ranks_become_scores_from_one_to_nought(folder: Path) -> None:
    ranked = {
        "id": "x",
        "prompt": "p",
        "generations": [f"{i}.png" for i in range(4)],
        "ranking": [1, 2, 2, 4],
    }
    (folder / "test.json").write_text(json.dumps([ranked, 7, {**ranked, "ranking": [4, 3, 2, 1]}]))
    source = open_records(str(folder / "test.json"))
    first, bad, last = source.rows()
    assert source.format == "ranked"
    assert isinstance(first, Record)
    assert isinstance(last, Record)
    assert first.scores == pytest.approx((1, 2 / 3, 2 / 3, 0))
    assert last.scores == pytest.approx((0, 1 / 3, 2 / 3, 1))
    assert codes([bad]) == [TextCode.NOT_OBJECT]
    assert source.count() == 3


def test_two_ranked_images_are_a_vote(folder: Path) -> None:
    row = {"prompt": "p", "images": ["0.png", "1.png"], "ranking": [2, 1]}
    (record,) = good(list(open_records(str(write_lines(folder / "a.jsonl", [row]))).rows()))
    assert record.scores == (0.0, 1.0)


@pytest.mark.parametrize(
    ("ranks", "scores"),
    [([1, 2, 5, 3], (1, 0.75, 0, 0.5)), ([3, 0, 1, 1], (0, 1, 2 / 3, 2 / 3)), ([2, 2], (0, 0))],
    ids=["part of a longer list", "counted from nought", "tied"],
)
def test_ranks_of_published_lists_keep_their_order(
    folder: Path, ranks: list[int], scores: tuple[float, ...]
) -> None:
    names = [f"{n}.png" for n in range(len(ranks))]
    row = {"prompt": "p", "image_path": names, "rank": ranks}
    (record,) = good(list(open_records(str(write_lines(folder / "a.jsonl", [row]))).rows()))
    assert record.scores == pytest.approx(scores)


@pytest.mark.parametrize("text", ["[1, 2", '{"prompt": NaN}', "[]extra"])
def test_a_json_file_that_is_no_list_says_so(tmp_path: Path, text: str) -> None:
    (tmp_path / "test.json").write_text(text)
    source = open_records(str(tmp_path / "test.json"), format="ranked")
    with pytest.raises(DataError, match=r"test\.json"):
        list(source.rows())


def make_pairs(root: Path, stems: list[str], winner: str = "winner", loser: str = "loser") -> None:
    for side, names in ((winner, stems), (loser, stems)):
        (root / side).mkdir(exist_ok=True)
        for index, stem in enumerate(names):
            (root / side / f"{stem}.png").write_bytes(png(index + 10 * (side == winner)))


def test_winner_and_loser_folders_are_paired_by_stem(tmp_path: Path) -> None:
    make_pairs(tmp_path, ["a", "b", "c"])
    (tmp_path / "winner" / "a.txt").write_text("from the winner\n")
    (tmp_path / "loser" / "b.txt").write_text("from the loser")
    (tmp_path / "c.txt").write_text("from the root")
    source = open_records(str(tmp_path))
    records = good(list(source.rows()))
    assert source.format == "folders"
    assert [record.prompt for record in records] == [
        "from the winner",
        "from the loser",
        "from the root",
    ]
    assert all(record.scores == (1, 0) for record in records)
    assert [image.key for image in records[0].images] == ["winner/a.png", "loser/a.png"]
    assert records[1].id == "b"
    assert source.count() == 3


def test_captions_may_stand_in_one_file(tmp_path: Path) -> None:
    make_pairs(tmp_path, ["a", "b"], "chosen", "rejected")
    captions = [{"image": "a", "prompt": "by stem"}, {"image": "b.png", "prompt": "by name"}]
    write_lines(tmp_path / "captions.jsonl", captions)
    records = good(list(open_records(str(tmp_path)).rows()))
    assert [record.prompt for record in records] == ["by stem", "by name"]


def test_a_stem_without_its_other_side_or_caption_is_a_bad_row(tmp_path: Path) -> None:
    make_pairs(tmp_path, ["a", "b", "c"])
    (tmp_path / "loser" / "a.png").unlink()
    (tmp_path / "c.txt").write_bytes(b"\xff\xfe not utf-8")
    assert codes(list(open_records(str(tmp_path)).rows())) == [
        RowCode.MISSING_SIDE,
        RowCode.MISSING_CAPTION,
        RowCode.BAD_TEXT,
    ]


def test_a_caption_far_too_long_is_not_read(tmp_path: Path) -> None:
    make_pairs(tmp_path, ["a"])
    (tmp_path / "a.txt").write_text("x" * 200_000)
    assert codes(list(open_records(str(tmp_path)).rows())) == [RowCode.LONG_PROMPT]


def test_liked_and_disliked_folders_are_single_likes(tmp_path: Path) -> None:
    for side, seed in (("liked", 1), ("disliked", 2)):
        (tmp_path / side).mkdir()
        (tmp_path / side / "x.png").write_bytes(png(seed))
        (tmp_path / side / "x.txt").write_text(f"a {side} picture")
    records = good(list(open_records(str(tmp_path)).rows()))
    assert [(record.prompt, record.scores) for record in records] == [
        ("a liked picture", (1.0,)),
        ("a disliked picture", (0.0,)),
    ]


def test_liked_alone_is_enough(tmp_path: Path) -> None:
    (tmp_path / "liked").mkdir()
    (tmp_path / "liked" / "x.png").write_bytes(png(1))
    (tmp_path / "liked" / "x.txt").write_text("a picture")
    (record,) = good(list(open_records(str(tmp_path)).rows()))
    assert record.scores == (1.0,)


def test_a_file_name_of_another_encoding_is_reported_and_does_no_harm(tmp_path: Path) -> None:
    make_pairs(tmp_path, ["a"])
    (tmp_path / "a.txt").write_text("p")
    name = b"\xff\xfe.png".decode(errors="surrogateescape")
    (tmp_path / "winner" / name).write_bytes(png(3))
    rows = list(open_records(str(tmp_path)).rows())
    (bad,) = [row for row in rows if isinstance(row, BadRow)]
    assert bad.code == RowCode.MISSING_SIDE
    json.dumps(bad.plain(), ensure_ascii=False).encode()


def test_a_missing_source_is_met_with_its_neighbours(folder: Path) -> None:
    write_lines(folder / "pairs.jsonl", [line(0, 1)])
    with pytest.raises(DataError, match=r"did you mean 'pairs\.jsonl'") as error:
        open_records(str(folder / "pears.jsonl"))
    assert error.value.exit_code == 4


def test_unknown_content_lists_every_format_that_was_tried(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    for source in (tmp_path, tmp_path / "notes.txt"):
        with pytest.raises(DataError) as error:
            open_records(str(source))
        assert all(
            f"{name}: {reader.summary}" in str(error.value) for name, reader in READERS.items()
        )


def test_two_formats_in_one_folder_ask_for_a_choice(folder: Path) -> None:
    write_lines(folder / "pairs.jsonl", [line(0, 1)])
    make_pairs(folder, ["a"])
    with pytest.raises(DataError, match="jsonl, folders"):
        open_records(str(folder))
    assert open_records(str(folder), format="jsonl").format == "jsonl"


def test_several_jsonl_files_ask_for_one(folder: Path) -> None:
    write_lines(folder / "a.jsonl", [line(0, 1)])
    write_lines(folder / "b.jsonl", [line(0, 1)])
    with pytest.raises(DataError, match="known format"):
        open_records(str(folder))
    with pytest.raises(DataError, match=r"call it metadata\.jsonl"):
        list(open_records(str(folder), format="jsonl").rows())


def test_an_unknown_format_is_met_with_the_nearest(folder: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'jsonl'"):
        open_records(str(folder), format="json")


class Plugin:
    """An entry point as importlib gives it."""

    def __init__(self, content: object) -> None:
        self.name, self.value, self.content, self.loads = "mine", "my_package:reader", content, 0

    def load(self) -> object:
        self.loads += 1
        return self.content


def test_a_plug_in_is_loaded_only_when_it_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin = Plugin(JSONL)
    seen: list[str] = []

    def entry_points(*, group: str) -> list[Plugin]:
        seen.append(group)
        return [plugin]

    monkeypatch.setattr("diffpref.data.readers.entry_points", entry_points)
    write_lines(folder / "pairs.jsonl", [line(0, 1)])
    assert len(list(open_records(str(folder)).rows())) == 1
    assert (plugin.loads, seen) == (0, [])
    assert len(list(open_records(str(folder), format="mine").rows())) == 1
    assert (plugin.loads, seen) == (1, [GROUP])
    plugin.content = "no reader"
    with pytest.raises(UsageError, match="my_package:reader"):
        open_records(str(folder), format="mine")


def test_the_stamp_changes_with_the_rows_and_with_the_images(folder: Path) -> None:
    path = write_lines(folder / "pairs.jsonl", [line(0, 1)])
    first = open_records(str(path)).stamp()
    assert open_records(str(path)).stamp() == first
    (folder / "0.png").write_bytes(png(9, 48, 48))
    second = open_records(str(path)).stamp()
    write_lines(path, [line(1, 0)])
    assert len({first, second, open_records(str(path)).stamp()}) == 3
