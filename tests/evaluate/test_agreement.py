"""Scorers against labelled rows: what is scored, what is left out, and what is warned of."""

import csv
import json
import os
from collections.abc import Sequence
from io import StringIO
from itertools import combinations
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from diffpref.data.labelling import make_table
from diffpref.data.labels import read_table
from diffpref.data.readers import open_records
from diffpref.data.writers import write_jsonl
from diffpref.errors import DataError, UsageError
from diffpref.evaluate.agreement import Reading, agreement
from diffpref.evaluate.conflicts import conflicts
from diffpref.evaluate.scored import score_source, scores_csv
from diffpref.io import open_image
from diffpref.rewards import LoadedScorer, ScorerInfo
from diffpref.rewards.sight import Seen
from tests.data.makers import pair, write_lines

FOLDER = Path(os.environ.get("DIFFPREF_TEST_DATA", ""))
RANKING = FOLDER / "imagereward_ranking.json"


def grey(folder: Path, name: str, level: int) -> str:
    Image.new("RGB", (8, 8), (level, level, level)).save(folder / name)
    return name


@pytest.fixture
def source(tmp_path: Path) -> str:
    """Two prompts, three pairs; brighter is liked in two of them, and one is tied."""
    names = [grey(tmp_path, f"{level}.png", level) for level in (10, 90, 170)]
    rows = [
        {"prompt": "a", "images": [names[1], names[0]], "scores": [1, 0], "id": "one"},
        {"prompt": "a", "images": [names[2], names[1]], "scores": [0, 1]},
        {"prompt": "b", "images": [names[0], names[2]], "scores": [0, 1]},
        {"prompt": "b", "images": [names[0], names[1]], "scores": [0.5, 0.5]},
    ]
    return str(write_lines(tmp_path / "pairs.jsonl", rows))


class Counting:
    """Scores by brightness, remembers what it was shown, and may be wrong on purpose."""

    def __init__(self, name: str = "counting", value: float | None = None) -> None:
        self.seen: list[tuple[float, str]] = []
        self.value = value
        self.info = ScorerInfo(
            name=name,
            kind="image",
            scale="mean pixel",
            range_hint=(0.0, 1.0),
            licence="Apache-2.0",
            differentiable=True,
            preprocess_id="none",
        )

    sight = Seen(id="none", look=lambda pixels: pixels)

    def judge(self, pixels: Tensor, prompts: tuple[str, ...], /) -> Tensor:
        means = pixels.mean(dim=(1, 2, 3))
        self.seen += zip((255 * means).round().tolist(), prompts, strict=True)
        return means if self.value is None else torch.full_like(means, self.value)

    def overlong(self, prompts: Sequence[str], /) -> list[bool]:
        return [prompt == "b" for prompt in prompts]

    def to(self, device: object, dtype: object, /) -> "Counting":
        del device, dtype
        return self


def test_every_image_is_scored_once_for_its_prompt(source: str) -> None:
    model = Counting()
    found = score_source(open_records(source), [LoadedScorer(model)], batch=2)
    assert sorted(model.seen) == [
        (10, "a"),
        (10, "b"),
        (90, "a"),
        (90, "b"),
        (170, "a"),
        (170, "b"),
    ]
    assert [row.record.where for row in found.rows] == [f"pairs.jsonl:{n}" for n in (1, 2, 3, 4)]
    first = found.judged("counting")[0]
    assert first.scores == pytest.approx((90 / 255, 10 / 255))
    assert (first.labels, first.prompt, first.where) == ((1.0, 0.0), "a", "pairs.jsonl:1")


def test_accuracies_by_protocol_and_scorer_are_those_of_the_scores(
    source: str, scorer: LoadedScorer
) -> None:
    dark = LoadedScorer(Counting("flat", value=0.25))
    names = ["strict_pairs", "hpdv2_inversion"]
    found = agreement({"test": open_records(source)}, [scorer, dark], names)
    told = [(one.protocol, info.id, one.value) for info, one in found.accuracies]
    assert told == [
        ("strict_pairs", "bright", pytest.approx(2 / 3)),
        ("strict_pairs", "flat", 0.0),
        ("hpdv2_inversion", "bright", pytest.approx(3 / 4)),
        ("hpdv2_inversion", "flat", pytest.approx(2 / 4)),
    ]
    one = found.accuracies[0][1]
    assert (one.pairs, one.prompts, one.label_ties, one.items) == (3, 2, 1, 3)
    assert found.accuracies[1][1].score_ties == 4
    plain = json.loads(json.dumps(found.plain()))
    assert plain["accuracies"][0]["scorer"]["id"] == "bright"
    assert plain["accuracies"][0]["scorer"]["preprocess_id"] == "none"
    assert plain["sources"]["test"]["rows"] == 4


def test_prompts_that_were_cut_are_warned_of(source: str) -> None:
    found = agreement({"test": open_records(source)}, [LoadedScorer(Counting())], ["strict_pairs"])
    assert found.warnings == (
        "counting read only the beginning of the prompt of 3 images",
        "an interval rests on 2 prompts only",
    )


def test_bad_rows_are_left_out_for_every_scorer_and_named(tmp_path: Path) -> None:
    names = [grey(tmp_path, f"{level}.png", level) for level in (10, 90)]
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\ncut off")
    good = {"prompt": "a", "images": names, "scores": [0, 1]}
    rows = [good, {**good, "images": [names[0], "broken.png"]}, "{no json", good]
    path = write_lines(tmp_path / "pairs.jsonl", rows)
    reading = Reading(max_bad_fraction=0.5)
    found = agreement(
        {"test": open_records(str(path))},
        [LoadedScorer(Counting())],
        ["strict_pairs"],
        reading=reading,
    )
    assert dict(found.bad["test"]) == {"image-truncated": 1, "text-not-json": 1}
    assert [row.line for row in found.scored["test"].bad] == [2, 3]
    assert found.accuracies[0][1].items == 2
    with pytest.raises(DataError, match="2 of 4 rows are bad"):
        score_source(open_records(str(path)), [LoadedScorer(Counting())])
    with pytest.raises(DataError, match="image-truncated"):
        score_source(open_records(str(path)), [LoadedScorer(Counting())], on_bad_row="error")


def test_a_score_that_is_not_finite_makes_the_row_bad(source: str) -> None:
    scorers = [LoadedScorer(Counting()), LoadedScorer(Counting("broken", value=float("nan")))]
    with pytest.raises(DataError, match="score-not-finite x 2"):
        score_source(open_records(source), scorers)


def test_the_limit_counts_rows_and_progress_is_told(source: str, scorer: LoadedScorer) -> None:
    told: list[tuple[int, int | None]] = []
    found = score_source(
        open_records(source), [scorer], limit=3, batch=2, progress=lambda *x: told.append(x)
    )
    assert len(found.rows) == 3
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_a_source_without_a_usable_row_says_why(tmp_path: Path, scorer: LoadedScorer) -> None:
    path = write_lines(tmp_path / "pairs.jsonl", ['{"prompt": "a"}'])
    with pytest.raises(DataError, match="no row that could be scored") as caught:
        score_source(open_records(str(path)), [scorer])
    assert "row-missing-field" in (caught.value.hint or "")


def test_the_csv_has_every_score_with_its_label(source: str, scorer: LoadedScorer) -> None:
    found = score_source(open_records(source), [scorer])
    rows = list(csv.DictReader(StringIO(scores_csv({"test": found}, ["bright"]))))
    assert len(rows) == 8
    assert rows[0] == {
        "part": "test",
        "row": "pairs.jsonl:1",
        "id": "one",
        "prompt": "a",
        "image": "90.png",
        "generator": "",
        "label": "1.0",
        "bright": str(found.rows[0].scores["bright"][0]),
    }
    again = [float(row["bright"]) for row in rows]
    right = [(again[i] - again[i + 1]) * (float(rows[i]["label"]) - 0.5) > 0 for i in (0, 2, 4)]
    assert sum(right) == 2


def test_a_threshold_is_not_tuned_on_the_rows_it_is_tested_on(
    source: str, scorer: LoadedScorer
) -> None:
    records = open_records(source)
    with pytest.raises(UsageError, match="those of the test"):
        agreement({"test": records, "validation": records}, [scorer], ["pickapic_v1_paper"])
    with pytest.raises(UsageError, match="tuned on a validation set"):
        agreement({"test": records}, [scorer], ["pickapic_v1_paper"])


def test_validation_rows_tune_the_threshold(
    source: str, tmp_path: Path, scorer: LoadedScorer
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    names = [grey(other, f"{level}.png", level) for level in (10, 90)]
    rows = [{"prompt": "c", "images": names, "scores": [0.5, 0.5]}]
    path = str(write_lines(other / "pairs.jsonl", rows))
    found = agreement(
        {"test": open_records(source), "validation": open_records(path)},
        [scorer],
        ["pickapic_v1_paper"],
    )
    (one,) = (accuracy for _, accuracy in found.accuracies)
    # tanh(80 / 255 / 2) = 0.156 is a tie from 0.2 on; then only 10 against 170 is none (0.304).
    assert (one.threshold, one.tuned_to) == (0.2, 1.0)
    assert one.value == pytest.approx((0.5 + 0.5 + 1 + 1) / 4)
    assert one.score_ties == 3


def test_a_scorer_that_made_the_labels_is_warned_of(tmp_path: Path, scorer: LoadedScorer) -> None:
    records = open_records(str(write_jsonl(tmp_path / "p", [pair(n) for n in range(3)])))
    table = tmp_path / "labels.jsonl"
    make_table(records, [scorer], table)
    labellers = list(read_table(table).header["scorers"])
    (warning,) = conflicts([scorer.info], labellers=labellers)
    assert warning.startswith("bright made the labels of the table")
    assert conflicts([LoadedScorer(Counting()).info], labellers=labellers) == []


def test_rows_that_name_the_scorer_as_their_source_are_warned_of(
    tmp_path: Path, scorer: LoadedScorer
) -> None:
    rows = [pair(n, source="Bright") for n in range(2)]
    records = open_records(str(write_jsonl(tmp_path / "p", rows)))
    found = agreement({"test": records}, [scorer], ["strict_pairs"])
    warning = "rows name bright as their source: it is tested on its own opinion"
    assert found.warnings[0] == warning


def test_the_bundled_reward_is_warned_of_on_the_votes_it_learned_from() -> None:
    info = LoadedScorer(Counting("world-reward")).info
    assert "learned from these votes" in conflicts([info], place=("builtin:pairs", "train"))[0]
    assert conflicts([info], place=("builtin:pairs", "test")) == []


@pytest.mark.skipif(
    not RANKING.is_file(), reason="DIFFPREF_TEST_DATA does not name the folder of real files"
)
def test_a_published_ranking_is_compared_pair_by_pair(scorer: LoadedScorer) -> None:
    """Four images of ImageReward's test set with ranks 1 to 4: six pairs."""
    found = agreement(
        {"test": open_records(str(RANKING))}, [scorer], ["imagereward_micro", "hpdv2_inversion"]
    )
    paths = [FOLDER / f"imagereward_{n}.webp" for n in (1, 2, 3, 4)]
    light = [
        torch.tensor(list(open_image(path, where="x").tobytes())).double().mean() for path in paths
    ]
    right = sum(bool(first > second) for first, second in combinations(light, 2))
    assert [one.value for _, one in found.accuracies] == pytest.approx([right / 6] * 2)
    assert [(one.pairs, one.prompts) for _, one in found.accuracies] == [(6, 1)] * 2
