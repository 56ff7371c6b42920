"""What benchmarks' result files say, against each evaluator's own arithmetic written again."""

import json
import random
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean, pstdev

import pytest

from diffpref.errors import DataError
from diffpref.evaluate.benchmarks import BENCHMARKS, Line, Summary


def summary(name: str, path: Path) -> Summary:
    summarise = BENCHMARKS[name].summarise
    assert summarise is not None
    return summarise(path)


def by_name(lines: tuple[Line, ...]) -> dict[str, Line]:
    return {line.name: line for line in lines}


def write_geneval(path: Path, marks: Mapping[str, list[list[bool]]]) -> Path:
    rows = [
        {
            "filename": f"{task}/{p}/samples/{k:05d}.png",
            "tag": task,
            "prompt": f"{task} {p}",
            "correct": right,
            "reason": "",
            "metadata": json.dumps({"tag": task, "prompt": f"{task} {p}"}),
            "details": "{}",
        }
        for task, prompts in marks.items()
        for p, images in enumerate(prompts)
        for k, right in enumerate(images)
    ]
    random.Random(0).shuffle(rows)  # os.listdir has no order
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_geneval_is_the_unweighted_mean_over_tasks(tmp_path: Path) -> None:
    """Worked by hand: 3 of 4 and 1 of 8 give 0.4375, not 4 of 12."""
    marks = {
        "colors": [[True, True, True, False]],
        "position": [[False] * 4, [False, False, True, False]],
    }
    found = summary("geneval", write_geneval(tmp_path / "results.jsonl", marks))
    tasks, overall = by_name(found.lines), by_name(found.overall)
    assert {name: (line.value, line.n) for name, line in tasks.items()} == {
        "colors": (0.75, 4),
        "position": (0.125, 8),
    }
    assert overall["overall"].value == pytest.approx(0.4375)
    assert overall["correct images"].value == pytest.approx(4 / 12)
    assert overall["correct prompts (any image)"].value == pytest.approx(2 / 3)
    assert "single_object, two_object, counting, color_attr missing" in found.notes[0]
    assert "3 of 553 prompts" in found.notes


def test_geneval_intervals_resample_prompts_within_tasks(tmp_path: Path) -> None:
    """All images of a prompt agree, so a task's interval is that of its prompts."""
    rng = random.Random(1)
    marks = {
        task: [[rng.random() < share] * 4 for _ in range(80)]
        for task, share in (("colors", 0.8), ("counting", 0.3))
    }
    found = summary("geneval", write_geneval(tmp_path / "r.jsonl", marks))
    halves = []
    for task, prompts in marks.items():
        line = by_name(found.lines)[task]
        p = fmean(images[0] for images in prompts)
        halves.append(1.96 * (p * (1 - p) / 80) ** 0.5)
        assert line.low == pytest.approx(p - halves[-1], abs=0.015)
        assert line.high == pytest.approx(p + halves[-1], abs=0.015)
    overall = by_name(found.overall)["overall"]
    half = (halves[0] ** 2 + halves[1] ** 2) ** 0.5 / 2
    assert overall.low == pytest.approx(overall.value - half, abs=0.01)
    assert overall.high == pytest.approx(overall.value + half, abs=0.01)


def test_geneval_says_when_prompts_have_other_numbers_of_images(tmp_path: Path) -> None:
    marks = {"colors": [[True] * 4, [False] * 3]}
    found = summary("geneval", write_geneval(tmp_path / "r.jsonl", marks))
    assert by_name(found.lines)["colors"].value == pytest.approx(4 / 7)
    assert any("some prompts have 3 images" in note for note in found.notes)


def write_scores(path: Path, scores: Mapping[str, list[float]], skip: int | None = None) -> Path:
    rows = [
        f"out/{style}/{number:05d}.jpg,a prompt,{value!r},{2 * value!r}"
        for style, values in scores.items()
        for number, value in enumerate(values)
        if number != skip
    ]
    random.Random(0).shuffle(rows)
    path.write_text("\n".join(["file,prompt,hpsv2.1,other", *rows]) + "\n")
    return path


def test_hpsv2_is_the_mean_and_spread_of_means_of_eighty(tmp_path: Path) -> None:
    rng = random.Random(2)
    scores = {style: [rng.gauss(28, 2) for _ in range(800)] for style in ("photo", "anime")}
    found = summary("hpsv2", write_scores(tmp_path / "s.csv", scores))
    lines = by_name(found.lines)
    for style, values in scores.items():
        groups = [fmean(values[start : start + 80]) for start in range(0, 800, 80)]
        line = lines[f"hpsv2.1 {style}"]
        assert line.value == pytest.approx(fmean(groups))
        assert line.spread == pytest.approx(pstdev(groups))
        assert line.n == 800
        assert lines[f"other {style}"].value == pytest.approx(2 * fmean(groups))
    overall = by_name(found.overall)["hpsv2.1 overall"]
    assert overall.value == pytest.approx(fmean(scores["photo"] + scores["anime"]))
    half = 1.96 * pstdev(scores["photo"] + scores["anime"]) / 1600**0.5
    assert overall.low == pytest.approx(overall.value - half, abs=0.1 * half)
    assert found.notes == tuple(
        f"{style}: 0 of 800 images; published numbers have all"
        for style in ("concept-art", "paintings")
    )


def test_hpsv2_cuts_groups_after_missing_images_are_gone(tmp_path: Path) -> None:
    values = [float(number) for number in range(161)]
    found = summary("hpsv2", write_scores(tmp_path / "s.csv", {"anime": values}, skip=3))
    kept = [value for value in values if value != 3]
    groups = [fmean(kept[:80]), fmean(kept[80:])]
    line = by_name(found.lines)["hpsv2.1 anime"]
    assert (line.value, line.spread) == pytest.approx((fmean(groups), pstdev(groups)))
    assert "anime: 160 of 800 images; published numbers have all" in found.notes


def test_hpsv2_says_when_scores_are_cosines(tmp_path: Path) -> None:
    found = summary("hpsv2", write_scores(tmp_path / "s.csv", {"anime": [0.28, 0.3]}))
    assert "100 times the cosine" in found.notes[-1]


DPG = """\
/x/out/a, b.png, 1.0, 0.5, 0.0, 0.5, 0.5
/x/out/1.png, 0.25, 0.25, 0.25, 0.25, 0.25
/x/out/2.png, 1.0, 1.0, 1.0, 1.0, 1.0
Model: out
L1 category scores:
\tentity: 83.5
\tother: 2.5e-05
L2 category scores:
\tentity - whole: 83.5
Image path: /x/out
Save results to: /x/out/dpg-bench_results.txt
DPG-Bench score: 58.333333333333336
"""


def test_dpg_is_the_mean_over_images_with_the_printed_categories(tmp_path: Path) -> None:
    (tmp_path / "r.txt").write_text(DPG)
    found = summary("dpg", tmp_path / "r.txt")
    (overall,) = found.overall
    assert (overall.value, overall.n) == (pytest.approx(100 * (0.5 + 0.25 + 1) / 3), 3)
    assert overall.low == pytest.approx(25)
    assert overall.high == pytest.approx(100)
    assert {name: line.value for name, line in by_name(found.lines).items()} == {
        "L1 entity": 83.5,
        "L1 other": 2.5e-05,
        "L2 entity - whole": 83.5,
    }
    assert "last crop only" in found.notes[0]
    assert found.notes[1].startswith("3 of 1065 images")
    assert len(found.notes) == 2


def test_dpg_notices_an_evaluator_that_stopped_or_disagrees(tmp_path: Path) -> None:
    lines = DPG.splitlines()
    (tmp_path / "cut.txt").write_text("\n".join(lines[:2]))
    assert "did not finish" in summary("dpg", tmp_path / "cut.txt").notes[-1]
    (tmp_path / "other.txt").write_text("\n".join(lines[1:]))
    assert "printed 58.3333, its lines say 62.5" in summary("dpg", tmp_path / "other.txt").notes[-1]


def test_compbench_is_the_mean_of_answers(tmp_path: Path) -> None:
    folder = tmp_path / "annotation_blip"
    folder.mkdir()
    answers = [
        {"question_id": 0, "answer": "0.6900"},
        {"question_id": 1, "answer": "0.7110"},
        {"question_id": 2, "answer": 0},
        {"question_id": 3, "answer": 0.25},
    ]
    (folder / "vqa_result.json").write_text(json.dumps(answers))
    found = summary("compbench", folder / "vqa_result.json")
    (line,) = found.overall
    assert (line.name, line.n, line.low) == ("annotation_blip", 4, None)
    assert line.value == pytest.approx((0.69 + 0.711 + 0 + 0.25) / 4)
    assert "3000" in found.notes[0]


def test_compbench_of_the_published_size_has_no_note(tmp_path: Path) -> None:
    rows = [{"question_id": n, "answer": "0.5"} for n in range(3000)]
    (tmp_path / "vqa_result.json").write_text(json.dumps(rows))
    assert summary("compbench", tmp_path / "vqa_result.json").notes == ()


def test_imagereward_is_the_mean_over_prompts(tmp_path: Path) -> None:
    rows = [
        {"id": "a", "prompt": "a", "mean_score": 0.5, "rewards": [0.0, 1.0]},
        {"id": "b", "prompt": "b", "mean_score": -1.5, "rewards": [-1, -2, -1.5]},
    ]
    (tmp_path / "r.json").write_text(json.dumps(rows))
    found = summary("imagereward", tmp_path / "r.json")
    (line,) = found.overall
    assert (line.value, line.n, line.unit) == (-0.5, 2, "prompts")
    assert (line.low, line.high) == (-1.5, 0.5)
    assert found.notes == ("2 prompts, 5 images; published numbers have 100 and 1000",)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("geneval", "", "holds no results"),
        (
            "geneval",
            '{"tag": "a", "metadata": "m", "correct": 1}',
            "'correct' is not true or false",
        ),
        ("geneval", '{"tag": "a", "correct": true}', "'metadata' is not a text"),
        ("hpsv2", "name,score\n", "no column file"),
        ("hpsv2", "file,prompt\na/1.jpg,p\n", "holds no scores"),
        ("hpsv2", "file,prompt,s\nout/0000-0.png,p,1\n", "is not style/number.jpg"),
        ("hpsv2", "file,prompt,s\na/1.jpg,p,high\n", "f:2: 'high' is no score"),
        ("hpsv2", "file,prompt,s\na/1.jpg,p,nan\n", "f:2: 'nan' is no score"),
        ("hpsv2", "file,prompt,s\na/1.jpg,p,1\nb/a/1.jpg,p,1\n", "f:3: b/a/1.jpg appears twice"),
        ("dpg", "Model: x\n", "holds no scores of images"),
        ("dpg", "a.png, 1.0, 1.0\na.png, 1.0, 1.0\n", "f:2: a.png appears twice"),
        ("compbench", "[]", "holds no answers"),
        ("compbench", '[{"question_id": 0, "answer": "yes"}]', "item 0: 'yes' is no score"),
        (
            "compbench",
            '[{"question_id": true, "answer": 1}]',
            "'question_id' is not a whole number",
        ),
        (
            "compbench",
            '[{"question_id": 0, "answer": 1}, {"question_id": 0, "answer": 1}]',
            "item 1: question 0 appears twice",
        ),
        ("imagereward", "{}", "is not a JSON list"),
        ("imagereward", "[]", "holds no results"),
        ("imagereward", '[{"id": "a", "rewards": []}]', "'mean_score' is not"),
    ],
)
def test_another_file_is_refused_with_its_place(
    name: str, content: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "f"
    path.write_text(content)
    with pytest.raises(DataError) as caught:
        summary(name, path)
    assert message in str(caught.value)
    assert caught.value.hint


def test_a_result_file_that_is_not_there_is_an_error_of_the_user(tmp_path: Path) -> None:
    for name, benchmark in BENCHMARKS.items():
        if benchmark.summarise is not None:
            with pytest.raises(DataError):
                summary(name, tmp_path / "gone")
