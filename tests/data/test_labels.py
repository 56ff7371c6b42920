"""Label tables and unpaired images: what a method learns from is what scorers and people said."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from weakref import finalize

import pytest
import torch
from PIL import Image

from diffpref.cli import main
from diffpref.data.labelling import make_table
from diffpref.data.labels import read_table, relabelled
from diffpref.data.readers import RecordSource, open_records
from diffpref.data.readers.reader import Ask
from diffpref.data.records import BadRow, ImageRef, Record, Row, RowCode
from diffpref.data.unpair import unpaired
from diffpref.errors import DataError
from diffpref.evaluate.pictures import png
from diffpref.io import open_image
from diffpref.rewards import inputs, load_scorer
from diffpref.rewards.stream import MOST_THREADS


def _source(rows: list[Row]) -> RecordSource:
    def read(place: str, ask: Ask) -> Iterator[Row]:
        del place
        yield from rows[ask.start :]

    plain = open_records("builtin:pairs")
    return replace(plain, reader=replace(plain.reader, rows=read, count=lambda *_: len(rows)))


def _row(prompt: str, scores: dict[str, float], line: int = 0) -> Record:
    return Record(
        prompt=prompt,
        images=tuple(ImageRef(key=key) for key in scores),
        scores=tuple(float(score) for score in scores.values()),
        line=line,
    )


def test_an_image_is_liked_if_it_was_preferred_at_least_once() -> None:
    rows: list[Row] = [
        _row("p", {"a": 1, "b": 0}),
        _row("p", {"b": 1, "c": 0}),
        _row("p", {"c": 0.5, "d": 0.5}),
        _row("q", {"a": 0, "c": 1}),
        BadRow(file="f", line=5, row_id=None, column=None, code="row-bad-score", reason="no"),
        _row("r", {"e": 3, "f": 7, "g": 5}),
        _row("s", {"h": 1}),
    ]
    found = list(unpaired(_source(rows)).rows())
    assert [row for row in found if isinstance(row, BadRow)] == [rows[4]]
    single = {
        (row.prompt, row.images[0].key): row.scores for row in found if isinstance(row, Record)
    }
    assert single == {
        ("p", "a"): (1.0,),
        ("p", "b"): (1.0,),
        ("p", "c"): (0.0,),
        ("q", "a"): (0.0,),
        ("q", "c"): (1.0,),
        ("r", "e"): (0.0,),
        ("r", "f"): (1.0,),
        ("r", "g"): (0.0,),
        ("s", "h"): (1.0,),
    }
    assert list(unpaired(_source(rows)).rows(start=3)) == found[3:]
    plain = _source(rows)
    assert unpaired(plain).stamp() != plain.stamp()


@pytest.fixture(scope="module")
def few() -> RecordSource:
    plain = open_records("builtin:pairs")
    return _source([row for row, _ in zip(plain.rows(), range(6), strict=False)])


def test_a_table_holds_the_scores_of_every_image(few: RecordSource, tmp_path: Path) -> None:
    scorer = load_scorer("world-reward")
    table, bad = make_table(few, [scorer], tmp_path / "labels.jsonl")
    assert bad == []
    assert table.header["n"] == len(table.scores) == 12
    values = [score for (score,) in table.scores.values()]
    assert table.ranges == [(min(values), max(values))]
    labels = []
    for row in relabelled(few, tmp_path / "labels.jsonl").rows():
        assert isinstance(row, Record)
        direct = scorer.score([image.data or b"" for image in row.images], row.prompt).values
        low, high = table.ranges[0]
        assert row.scores == pytest.approx(((direct - low) / (high - low)).tolist(), abs=1e-5)
        labels += row.scores
    assert (min(labels), max(labels)) == (0.0, 1.0)


def test_several_scorers_give_the_share_of_comparisons_won(tmp_path: Path) -> None:
    row = _row("p", {"a": 0, "b": 0, "c": 0})
    scores = {"a": [3.0, 1.0], "b": [2.0, 1.0], "c": [1.0, 5.0]}
    header = {
        "schema": "diffpref-labels/1",
        "scorers": {"x": {"low": 1, "high": 3}, "y": {"low": 1, "high": 5}},
        "n": 3,
    }
    lines = [header, *({"prompt": "p", "image": k, "scores": v} for k, v in scores.items())]
    path = tmp_path / "labels.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    (found,) = relabelled(_source([row]), path).rows()
    assert isinstance(found, Record)
    # a: 2 + 1/2, b: 1 + 1/2, c: 0 + 2 of four comparisons each
    assert found.scores == pytest.approx((2.5 / 4, 1.5 / 4, 2 / 4))
    (bad,) = relabelled(_source([_row("p", {"a": 0, "z": 1})]), path).rows()
    assert isinstance(bad, BadRow)
    assert bad.code == RowCode.NO_LABEL
    path.write_text("\n".join(path.read_text().splitlines()[:-1]) + "\n")
    with pytest.raises(DataError, match="2 of 3"):
        read_table(path)
    path.write_text('{"schema": "other"}\n')
    with pytest.raises(DataError, match="no label table"):
        read_table(path)
    with pytest.raises(DataError, match="diffpref label pairs"):
        read_table(tmp_path / "nowhere.jsonl")


def test_a_stopped_labelling_goes_on_and_gives_the_same_table(
    few: RecordSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer = load_scorer("world-reward")
    make_table(few, [scorer], tmp_path / "whole.jsonl")
    monkeypatch.setattr("diffpref.data.labelling.CHUNK", 2)

    def stop(done: int, total: int | None) -> None:
        del total
        if done >= 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_table(few, [scorer], tmp_path / "cut.jsonl", progress=stop)
    assert (tmp_path / "cut.jsonl.partial").exists()
    assert not (tmp_path / "cut.jsonl").exists()
    make_table(few, [scorer], tmp_path / "cut.jsonl")
    assert not (tmp_path / "cut.jsonl.partial").exists()
    ours, theirs = (read_table(tmp_path / f"{name}.jsonl").scores for name in ("cut", "whole"))
    assert ours.keys() == theirs.keys()
    for key, value in ours.items():
        assert value == pytest.approx(theirs[key], abs=1e-5)


def test_an_image_that_cannot_be_opened_is_reported_and_left_out(tmp_path: Path) -> None:
    good = next(iter(open_records("builtin:pairs").rows()))
    assert isinstance(good, Record)
    broken = replace(good, images=(good.images[0], ImageRef(key="x", data=b"no image")))
    table, bad = make_table(_source([broken]), [load_scorer("world-reward")], tmp_path / "t.jsonl")
    assert len(table.scores) == 1
    assert len(bad) == 1
    assert bad[0].startswith(f"{good.where}: ")
    assert "images[" not in bad[0]
    empty = replace(good, images=(ImageRef(key="x", data=b"no image"),), scores=(1.0,))
    with pytest.raises(DataError, match="no image could be labelled"):
        make_table(_source([empty]), [load_scorer("world-reward")], tmp_path / "u.jsonl")


def test_a_chunk_of_images_is_never_decoded_as_a_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive: set[int] = set()
    most: list[int] = []

    def opened(*told: Any, **named: Any) -> Image.Image:
        image, number = open_image(*told, **named), len(most)
        alive.add(number)
        finalize(image, alive.discard, number)
        most.append(len(alive))
        return image

    monkeypatch.setattr(inputs, "open_image", opened)
    rows: list[Row] = []
    for number in range(24):
        made = [png(torch.full((3, 8, 8), 10 * number + k, dtype=torch.uint8)) for k in (0, 5)]
        images = tuple(ImageRef(key=f"{number}/{k}", data=data) for k, data in enumerate(made))
        rows.append(replace(_row("p", {"a": 1, "b": 0}), images=images))
    table, bad = make_table(
        _source(rows), [load_scorer("brightness")], tmp_path / "t.jsonl", batch=16
    )
    assert (len(table.scores), len(most), bad) == (48, 48, [])
    assert max(most) <= MOST_THREADS + 1


def test_the_verb_labels_a_folder_and_a_run_learns_from_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from diffpref.data.writers import write_jsonl

    rows = [row for row, _ in zip(open_records("builtin:pairs").rows(), range(6), strict=False)]
    write_jsonl(tmp_path / "data", (row for row in rows if isinstance(row, Record)))
    data, table = str(tmp_path / "data"), str(tmp_path / "labels.jsonl")
    assert main(["label", "pairs", data, "--out", table]) == 2
    assert "--scorer" in capsys.readouterr().err
    assert main(["label", "pairs", data, "--scorer", "world-reward", "--out", table]) == 0
    assert "12 labels" in capsys.readouterr().out
    assert main(["label", "pairs", data, "--scorer", "world-reward", "--out", table]) == 2
    torch.manual_seed(0)
    changes = [
        f"data.source={data}",
        f"data.labels={table}",
        f"data.cache={tmp_path / 'cache'}",
        "data.pairs_per_batch=2",
        "loop.steps=1",
        "optimizer.warmup=0",
        "method.steps=1",
    ]
    assert main(["train", "shapes/smpo", *changes, "--out", str(tmp_path / "run")]) == 0
