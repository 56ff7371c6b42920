"""Scoring images on disk: order, journals, bad images, files and the page."""

import csv
import json
import math
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor

from diffpref.errors import DataError, UsageError
from diffpref.evaluate.histogram import histogram
from diffpref.evaluate.pictures import png, to_bytes
from diffpref.evaluate.score_files import write_scores
from diffpref.evaluate.score_report import render_score_report
from diffpref.evaluate.scoring import ScoredImages, score_images
from diffpref.io import Journal
from diffpref.rewards import LoadedScorer, ScorerInfo, WeightRef
from diffpref.rewards.sight import Seen

INFO = ScorerInfo(
    name="mean",
    kind="image",
    scale="the mean of all pixels",
    range_hint=(0.0, 1.0),
    licence="none",
    differentiable=True,
    preprocess_id="none",
    weights=(WeightRef(file="w", sha256="0" * 64, layout="none"),),
)


class Mean:
    """The mean of a picture plus the length of its prompt; counts what it judged."""

    def __init__(self, info: ScorerInfo = INFO, fail_after: int = 10**9) -> None:
        self.info, self.judged, self.fail_after = info, 0, fail_after
        self.sight = Seen(id="none", look=lambda pixels: pixels)

    def judge(self, seen: Tensor, prompts: tuple[str, ...], /) -> Tensor:
        if self.judged >= self.fail_after:
            raise KeyboardInterrupt
        self.judged += len(prompts)
        return seen.mean(dim=(1, 2, 3)) + torch.tensor([float(len(text)) for text in prompts])

    def overlong(self, prompts: Sequence[str], /) -> list[bool]:
        return [len(prompt) > 5 for prompt in prompts]

    def to(self, device: object, dtype: object, /) -> "Mean":
        del device, dtype
        return self


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Twelve grey pictures, the seventh equal to the third."""
    paths = []
    for number in range(12):
        grey = 2 if number == 6 else number
        pixels = torch.full((3, 4, 4 + number % 2), grey / 20)
        paths.append(tmp_path / f"{number:02d}.png")
        paths[-1].write_bytes(png(to_bytes(pixels), {}))
    paths[6].write_bytes(paths[2].read_bytes())
    return paths


def greys(numbers: Sequence[int]) -> list[float]:
    return [round(255 * (2 if n == 6 else n) / 20) / 255 for n in numbers]


def test_scores_keep_the_order_and_equal_images_are_scored_once(files: list[Path]) -> None:
    model = Mean()
    prompts = ["a" * (1 + number % 3) for number in range(12)]
    prompts[6] = prompts[2]
    found = score_images(files, prompts, [LoadedScorer(model)], batch=2)
    expected = [grey + len(text) for grey, text in zip(greys(range(12)), prompts, strict=True)]
    assert found.values("mean") == pytest.approx(expected, abs=1e-6)
    assert model.judged == 11
    assert list(found.troubles()) == []


def test_a_killed_run_goes_on_and_gives_the_same_scores(files: list[Path], tmp_path: Path) -> None:
    journal = tmp_path / "scores.csv.partial"
    whole = score_images(files, ["a"] * 12, [LoadedScorer(Mean())], batch=1)
    with pytest.raises(KeyboardInterrupt):
        score_images(
            files, ["a"] * 12, [LoadedScorer(Mean(fail_after=9))], batch=1, journal=journal
        )
    with journal.open("ab") as stream:
        stream.write(b'{"scorer": "torn')  # as a kill in the middle of a line leaves it
    told: list[tuple[int, int | None]] = []
    second = Mean()
    found = score_images(
        files,
        ["a"] * 12,
        [LoadedScorer(second)],
        batch=1,
        journal=journal,
        progress=lambda _: lambda done, total: told.append((done, total)),
    )
    assert second.judged == 11 - 8
    assert told[0] == (8, 11)
    assert told[-1] == (11, 11)
    assert found.values("mean") == pytest.approx(whole.values("mean"), abs=1e-6)


def test_the_journal_knows_content_prompt_scorer_weights_and_precision(
    files: list[Path], tmp_path: Path
) -> None:
    journal = tmp_path / "j"
    score_images(files, ["a"] * 12, [LoadedScorer(Mean())], journal=journal)
    other = replace(INFO, weights=(WeightRef(file="w", sha256="1" * 64, layout="none"),))
    moved = files[0].with_name("moved.png")
    files[0].rename(moved)
    again = [moved, *files[1:]]
    for prompts, info, dtype, judged in (
        (["a"] * 12, INFO, "fp32", 0),
        (["b", *["a"] * 11], INFO, "fp32", 1),
        (["a"] * 12, other, "fp32", 11),
        (["a"] * 12, INFO, "bf16", 11),
        (["a"] * 12, replace(INFO, variant="x"), "fp32", 11),
        (["a"] * 12, replace(INFO, preprocess_id="y"), "fp32", 11),
    ):
        model = Mean(info)
        score_images(again, prompts, [LoadedScorer(model)], journal=journal, dtype=dtype)
        assert model.judged == judged, (info.id, dtype)


def test_a_bad_image_stops_the_run_or_is_flagged(files: list[Path], tmp_path: Path) -> None:
    files[3].write_bytes(files[3].read_bytes()[:60])
    gone = tmp_path / "gone.png"
    everything = [*files, gone]
    journal = tmp_path / "j"
    with pytest.raises(DataError, match=r"03\.png: mean cannot score it") as caught:
        score_images(everything, ["a"] * 13, [LoadedScorer(Mean())], batch=1, journal=journal)
    assert "--skip-bad" in str(caught.value)
    kept = [line["rows"] for line in Journal(journal).read()]
    assert [len(rows) for rows in kept if isinstance(rows, list)] == [4]
    model = Mean()
    found = score_images(
        everything, ["a"] * 13, [LoadedScorer(model)], batch=1, journal=journal, skip_bad=True
    )
    assert model.judged == 11 - 1 - 3
    told = {file.name: verdict for file, _, verdict in found.troubles()}
    assert told.keys() == {"03.png", "gone.png"}
    assert told["gone.png"].reason == "there is no file gone.png"
    assert all(verdict.flags == ("unreadable",) for verdict in told.values())
    assert all(math.isnan(verdict.value) for verdict in told.values())
    gone.write_bytes(files[5].read_bytes())  # what was missing is looked for again
    found = score_images(
        everything, ["a"] * 13, [LoadedScorer(Mean())], journal=journal, skip_bad=True
    )
    assert found.values("mean")[12] == found.values("mean")[5]
    with pytest.raises(DataError, match=r"03\.png"):
        score_images(everything, ["a"] * 13, [LoadedScorer(Mean())], journal=journal)


@pytest.fixture
def scored(files: list[Path]) -> ScoredImages:
    """Two scorers; one image unreadable, one prompt too long."""
    files[3].write_bytes(b"no picture")
    prompts = ['say "hi", <b>you</b>', *["a"] * 11]
    second = Mean(replace(INFO, name="other"))
    scorers = [LoadedScorer(Mean()), LoadedScorer(second)]
    return score_images(files, prompts, scorers, skip_bad=True)


def test_all_three_files_hold_the_same_scores(scored: ScoredImages, tmp_path: Path) -> None:
    for ending in ("csv", "parquet", "json"):
        write_scores(tmp_path / f"s.{ending}", scored)
    with (tmp_path / "s.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    document = json.loads((tmp_path / "s.json").read_text())
    table = pq.read_table(tmp_path / "s.parquet")
    values = scored.values("mean")
    expected = [None if math.isnan(value) else value for value in values]
    assert [float(row["mean"]) if row["mean"] else None for row in rows] == expected
    assert [each["scores"]["mean"] for each in document["images"]] == expected
    assert table["mean"].to_pylist() == expected
    assert expected[3] is None
    assert rows[0]["prompt"] == table["prompt"][0].as_py() == scored.prompts[0]
    assert rows[0]["flags"] == "mean=truncated other=truncated"
    assert table["mean.flags"].to_pylist()[3] == ["unreadable"]
    assert rows[3]["reasons"].count("the content is unknown") == 2
    for scorers in (document["scorers"], json.loads(table.schema.metadata[b"scorers"])):
        assert scorers["other"]["weights"][0]["sha256"] == "0" * 64
    with pytest.raises(UsageError, match="must end in one of"):
        write_scores(tmp_path / "s.txt", scored)


def test_the_page_is_whole_and_escapes_what_it_shows(scored: ScoredImages) -> None:
    page = render_score_report(scored, title="<i>x</i>", dtype="fp32")
    assert "<b>you</b>" not in page
    assert "&lt;b&gt;you&lt;/b&gt;" in page
    assert "<i>x</i>" not in page
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")
    assert page.count("<svg") == 2
    assert page.count("data:image/png;base64,") == 2 * 11
    style = page.partition("<style>")[2].partition("</style>")[0]
    digest = b64encode(sha256(style.encode()).digest()).decode()
    assert f"style-src &#39;sha256-{digest}&#39;" in page or f"'sha256-{digest}'" in page
    assert "unreadable" in page
    assert "0" * 64 in page
    assert "the mean of all pixels" in page
    best, worst = page.index("Highest"), page.index("Lowest")
    assert page.index("00.png", best) < page.index("11.png", best) < worst


def test_a_histogram_counts_every_finite_value_once() -> None:
    values = [0.0, 0.1, 0.1, 0.9, 1.0, math.nan, math.inf]
    found = histogram(values)
    assert found is not None
    assert [bar.count for bar in found.bars] == [3, 0, 0, 0, 2]
    assert found.bars[0].height == pytest.approx(1.5 * found.bars[4].height)
    assert found.bars[1].height == 0
    assert all(a.x + a.width < b.x for a, b in zip(found.bars, found.bars[1:], strict=False))
    flat = histogram([3.0, 3.0])
    assert flat is not None
    assert sum(bar.count for bar in flat.bars) == 2
    assert histogram([math.nan]) is None
    assert histogram([]) is None
