"""Hugging Face data sets through the optional package `datasets`."""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from diffpref.data.readers import open_records
from diffpref.data.records import RowCode
from diffpref.errors import DataError, HubError
from tests.data.makers import codes, good, png


class FakeStream:
    """The part of `datasets.IterableDataset` that is used; counts the rows it gives out."""

    def __init__(self, rows: list[dict[str, Any]], *, named: bool = True) -> None:
        self.rows, self.named = rows, named
        self.decoded, self.given = True, 0
        self.chosen: list[str] | None = None

    @property
    def column_names(self) -> list[str] | None:
        return list(self.rows[0]) if self.named else None

    def decode(self, enable: bool) -> "FakeStream":
        self.decoded = enable
        return self

    def skip(self, n: int) -> "FakeStream":
        self.rows = self.rows[n:]
        return self

    def select_columns(self, column_names: list[str]) -> "FakeStream":
        self.chosen = column_names
        self.rows = [{name: row[name] for name in column_names} for row in self.rows]
        return self

    def __iter__(self) -> Iterator[Mapping[str, object]]:
        for row in self.rows:
            self.given += 1
            yield row


class FakeLibrary(ModuleType):
    """A module `datasets` that holds one data set and notes what was asked of it."""

    def __init__(self, stream: FakeStream) -> None:
        super().__init__("datasets")
        self.stream, self.asked = stream, {}
        self.error: Exception | None = None

    def load_dataset(self, name: str, **options: Any) -> FakeStream:
        self.asked = {"name": name, **options}
        if self.error is not None:
            raise self.error
        return self.stream


def rows(count: int) -> list[dict[str, Any]]:
    return [
        {
            "caption": f"caption {n}",
            "label_0": 1.0 if n % 2 else None,
            "jpg_0": {"bytes": png(2 * n), "path": None},
            "jpg_1": png(2 * n + 1),
            "image_0_uid": f"{n}-0",
            "image_1_uid": f"{n}-1",
            "unused": "x",
        }
        for n in range(count)
    ]


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> FakeLibrary:
    fake = FakeLibrary(FakeStream(rows(4)))
    monkeypatch.setitem(sys.modules, "datasets", fake)
    return fake


@pytest.mark.parametrize("source", ["owner/name", "hf:owner/name"])
def test_a_hub_id_is_streamed_without_decoding_and_without_needless_columns(
    library: FakeLibrary, source: str
) -> None:
    opened = open_records(source, split="validation")
    found = list(opened.rows())
    assert opened.format == "hub"
    assert library.asked == {
        "name": "owner/name",
        "split": "validation",
        "revision": None,
        "streaming": True,
    }
    assert library.stream.decoded is False
    assert library.stream.chosen is not None
    assert "unused" not in library.stream.chosen
    assert codes(found) == [RowCode.BAD_LABEL] * 2
    assert [row.where for row in good(found)] == ["owner/name:2", "owner/name:4"]
    assert good(found)[0].images[0].content == png(2)
    assert opened.count() is None


def test_a_revision_is_passed_on(library: FakeLibrary) -> None:
    list(open_records("hf:owner/name@0123abc").rows())
    assert (library.asked["name"], library.asked["revision"]) == ("owner/name", "0123abc")


def test_a_stream_gives_no_more_rows_than_are_taken(library: FakeLibrary) -> None:
    stream = open_records("owner/name").rows()
    next(stream)
    assert library.stream.given == 1


def test_a_light_read_asks_for_no_images(library: FakeLibrary) -> None:
    found = good(list(open_records("owner/name").rows(pixels=False)))
    assert library.stream.chosen is not None
    assert not {"jpg_0", "jpg_1"} & set(library.stream.chosen)
    assert [image.key for image in found[0].images] == ["1-0", "1-1"]


@pytest.mark.usefixtures("library")
def test_reading_may_start_at_any_row() -> None:
    assert [row.line for row in open_records("owner/name").rows(start=2)] == [3, 4]


def test_columns_are_found_by_looking_when_the_stream_does_not_name_them(
    library: FakeLibrary,
) -> None:
    library.stream.named = False
    assert len(list(open_records("owner/name").rows())) == 4


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (ConnectionError("no route"), HubError, "check the name and the network"),
        (FileNotFoundError("gone"), HubError, "gone"),
        (ValueError("Bad split: dev"), DataError, "name another --split"),
    ],
)
def test_what_the_library_refuses_is_said_in_our_words(
    library: FakeLibrary,
    error: Exception,
    kind: type[Exception],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    library.error = error
    with pytest.raises(kind, match=words):
        list(open_records("owner/name").rows())


def test_offline_is_named_as_the_reason(
    library: FakeLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.error = ConnectionError("offline mode")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(HubError, match="HF_HUB_OFFLINE is set") as error:
        list(open_records("owner/name").rows())
    assert error.value.exit_code == 9


def test_without_the_package_the_message_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r'pip install "diffpref\[hub\]"'):
        list(open_records("owner/name").rows())


@pytest.mark.filterwarnings("ignore")
def test_a_folder_written_by_the_real_library_is_read(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    table = {
        "prompt": ["a", "b"],
        "images": [
            [{"bytes": png(n), "path": None}, {"bytes": png(n + 9), "path": None}] for n in (1, 2)
        ],
        "scores": [[1.0, 0.0], [0.0, 1.0]],
    }
    features = datasets.Features(
        {
            "prompt": datasets.Value("string"),
            "images": datasets.List(datasets.Image()),
            "scores": datasets.List(datasets.Value("float64")),
        }
    )
    one = datasets.Dataset.from_dict(table, features=features)
    one.save_to_disk(str(tmp_path / "one"))
    datasets.DatasetDict({"train": one, "test": one.select([0])}).save_to_disk(
        str(tmp_path / "two")
    )
    found = good(list(open_records(str(tmp_path / "one")).rows()))
    assert [(row.prompt, row.scores) for row in found] == [("a", (1, 0)), ("b", (0, 1))]
    assert found[1].images[0].content == png(2)
    assert len(list(open_records(str(tmp_path / "two"), split="test").rows())) == 1
    with pytest.raises(DataError, match="split"):
        list(open_records(str(tmp_path / "two"), split="dev").rows())
