"""`diffpref evaluate accuracy`."""

import csv
import json
from pathlib import Path

import pytest

from diffpref.cli import main
from diffpref.evaluate.benchmarks import BENCHMARKS
from diffpref.evaluate.protocols import PROTOCOLS

PAIRS = ("evaluate", "accuracy", "builtin:pairs", "--limit", "24", "--scorer", "world-oracle")


def run(*words: str) -> int:
    return main(list(words))


def recomputed(rows: list[dict[str, str]]) -> float:
    """The strict accuracy of a CSV of pairs."""
    pairs = list(zip(rows[::2], rows[1::2], strict=True))
    right = [
        (float(a["label"]) - float(b["label"]))
        * (float(a["world-oracle"]) - float(b["world-oracle"]))
        > 0
        for a, b in pairs
    ]
    return sum(right) / len(right)


def test_the_number_stands_beside_its_protocol_and_can_be_had_from_the_csv(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "scores.csv"
    assert run(*PAIRS, "--protocol", "strict_pairs,hpdv2_inversion", "--out", str(out)) == 0
    text, err = capsys.readouterr()
    with out.open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 48
    value = recomputed(rows)
    head, strict, inversion = (line.split() for line in text.splitlines()[:3])
    assert head[:3] == ["protocol", "scorer", "accuracy"]
    assert strict[:3] == ["strict_pairs", "world-oracle", f"{value:.4f}"]
    assert inversion[:3] == ["hpdv2_inversion", "world-oracle", f"{value:.4f}"]
    assert strict[6:] == ["24", "12", "0", "0", "-", "none/32", "none"]
    assert "test: 24 rows of builtin:pairs, split test" in text
    assert "scoring test: 24 of 24 rows" in err
    assert run(*PAIRS, "--protocol", "strict_pairs", "--out", str(out)) == 2
    assert "exists already" in capsys.readouterr().err


def test_json_has_the_identity_of_the_scorer_and_the_threshold(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = (*PAIRS[:-1], "world-reward", "--protocol", "pickapic_v1_paper")
    assert run(*words, "--validation", "builtin:pairs", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    (one,) = found["accuracies"]
    assert one["protocol"] == "pickapic_v1_paper"
    assert one["threshold"] in [k / 10 for k in range(11)]
    assert 0 <= one["low"] <= one["value"] <= one["high"] <= 1
    assert one["scorer"]["id"] == "world-reward"
    assert one["scorer"]["preprocess_id"].startswith("bicubic")
    assert len(one["scorer"]["weights"][0]["sha256"]) == 64
    assert found["sources"]["validation"]["split"] == "validation"
    assert found["warnings"] == []


def test_votes_a_scorer_learned_from_are_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    words = (*PAIRS[:-1], "world-reward", "--protocol", "strict_pairs", "--split", "train")
    assert run(*words) == 0
    assert "warning: world-reward learned from these votes" in capsys.readouterr().err


def test_a_scorer_agrees_with_its_own_labels_and_a_warning_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from diffpref.data.readers import open_records
    from diffpref.data.records import Record
    from diffpref.data.writers import write_jsonl

    rows = [
        row
        for row in open_records("builtin:pairs", split="test").rows()
        if isinstance(row, Record) and row.line <= 6
    ]
    folder = str(write_jsonl(tmp_path / "pairs", rows))
    table = str(tmp_path / "labels.jsonl")
    assert run("label", "pairs", folder, "--scorer", "world-oracle", "--out", table) == 0
    words = ("evaluate", "accuracy", folder, "--scorer", "world-oracle,world-fidelity")
    assert run(*words, "--protocol", "strict_pairs", "--labels", table, "--json") == 0
    out, err = capsys.readouterr()
    found = json.loads(out[out.index("{") :])
    oracle, fidelity = found["accuracies"]
    assert oracle["value"] == 1.0 > fidelity["value"]
    assert "warning: world-oracle made the labels of the table" in err
    assert [text.split()[0] for text in found["warnings"]] == ["world-oracle", "an"]


def test_bad_rows_are_counted_and_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from diffpref.data.readers import open_records
    from diffpref.data.records import Record
    from diffpref.data.writers import write_jsonl

    rows = [
        row
        for row in open_records("builtin:pairs", split="test").rows()
        if isinstance(row, Record) and row.line <= 4
    ]
    path = write_jsonl(tmp_path / "pairs", rows)
    path.write_text(path.read_text() + '{"prompt": "a", "images": [], "scores": []}\n')
    words = ("evaluate", "accuracy", str(path), "--scorer", "world-oracle")
    assert run(*words, "--protocol", "strict_pairs") == 0
    err = capsys.readouterr().err
    assert "test: 1 rows left out: row-no-images" in err
    assert "metadata.jsonl:5: row-no-images (images): images is an empty list" in err
    assert run(*words, "--protocol", "strict_pairs", "--on-bad-row", "error") == 4


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ((), 2, "imagereward_micro: ranked lists"),
        (("--protocol", "strict"), 2, "did you mean 'strict_pairs'"),
        (("--protocol", "pickapic_v1_paper"), 2, "tuned on a validation set"),
        (("--protocol", "strict_pairs", "--scorer", "world-orcale"), 2, "did you mean"),
        (("--protocol", "strict_pairs", "--split", "tset"), 4, "did you mean 'test'"),
        (("--protocol", "geneval"), 2, "its evaluator was the scorer"),
        (("--protocol", "geneval,strict_pairs"), 2, "have one protocol"),
    ],
)
def test_wrong_words_are_refused_before_anything_is_scored(
    words: tuple[str, ...], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*PAIRS, *words) == code
    err = capsys.readouterr().err
    assert message in err
    assert "scoring" not in err


def test_a_missing_scorer_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("evaluate", "accuracy", "builtin:pairs", "--protocol", "strict_pairs") == 2
    assert "names no scorer" in capsys.readouterr().err


def test_the_results_of_a_benchmark_are_summarised(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        {"tag": tag, "correct": right, "metadata": f"{tag} {n}"}
        for tag, rights in (("colors", [True, False]), ("counting", [True, True]))
        for n, right in enumerate(rights)
    ]
    path = tmp_path / "results.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ("evaluate", "accuracy", str(path), "--protocol", "geneval")
    assert run(*words) == 0
    out, err = capsys.readouterr()
    table = [line.split() for line in out.splitlines()]
    assert table[1][:3] == ["geneval", "colors", "0.5000"]
    assert table[3][:3] == ["geneval", "overall", "0.7500"]
    assert "unweighted mean over tasks" in out
    assert "note: 4 of 553 prompts" in err
    assert run(*words, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["protocol"], found["overall"][0]["value"]) == ("geneval", 0.75)


def test_help_and_docs_name_every_protocol_and_benchmark(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("evaluate", "accuracy", "--help") == 0
    text = " ".join(capsys.readouterr().out.split())
    page = (Path(__file__).parents[2] / "docs/evaluation.md").read_text()
    summarised = [name for name, each in BENCHMARKS.items() if each.summarise]
    for name in [*PROTOCOLS, *summarised]:
        assert name in text, name
    for name in [*PROTOCOLS, *(f"{name}:" for name in BENCHMARKS)]:
        assert name in page, name
