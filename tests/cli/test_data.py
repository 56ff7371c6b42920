"""`diffpref data`."""

import json
from pathlib import Path
from typing import Any

import pytest

from diffpref.cli import data as verbs
from diffpref.cli import data_cache, main
from diffpref.data.writers import write_jsonl
from tests.data.makers import ToyEncoder, pair


class FakeText:
    def overlong(self, prompts: list[str]) -> int:
        return sum(len(prompt) > 40 for prompt in prompts)


class FakeBundle(ToyEncoder):
    text = FakeText()


@pytest.fixture
def source(tmp_path: Path) -> str:
    rows = [pair(n, user="ana") for n in range(4)] + [pair(9, scores=(0.5, 0.5))]
    return str(write_jsonl(tmp_path / "data", [*rows, pair(5, prompt="long " * 10)]))


@pytest.fixture(autouse=True)
def _fake_model(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (verbs, data_cache):
        monkeypatch.setattr(module, "loaded", lambda *_: FakeBundle())


def run(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, dict[str, Any]]:
    code = main(["data", *args, "--json"])
    captured = capsys.readouterr()
    return code, json.loads(captured.out) if captured.out else {"error": captured.err}


def test_inspect_counts_what_a_run_would_keep(
    source: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = run(capsys, "inspect", source, "--base", "any")
    assert code == 0
    assert found["format"] == "jsonl"
    report = found["report"]
    assert (report["rows"], report["kept"], report["dropped"]) == (6, 5, {"tie": 1})
    assert (report["images"], report["prompts"], report["users"]) == (10, 5, 1)
    assert (report["overlong"], report["overlong_exact"]) == (1, True)
    assert report["buckets"] == {"32x32": 10}
    code, found = run(capsys, "inspect", source, "--rows", "2", "--ties", "soft")
    assert found["report"]["rows"] == 2


def test_inspect_prints_counts_and_bad_rows(
    source: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path(source)
    path.write_text(path.read_text() + "{broken\n")
    assert main(["data", "inspect", source]) == 0
    out = capsys.readouterr().out
    assert "dropped: tie" in out
    assert "metadata.jsonl:7: text-not-json" in out
    assert "captions too long" in out


def test_inspect_fails_when_nothing_is_left(
    source: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "inspect", source, "--min-side", "100"]) == 4
    assert "below min_side" in capsys.readouterr().out


def test_a_cache_is_made_verified_and_pruned(
    source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "cache")
    code, made = run(capsys, "cache", source, "--out", out, "--dtype", "fp32")
    assert code == 0
    assert made["report"]["kept"] == 5
    assert Path(made["bad_rows"]).is_file()
    code, verdict = run(capsys, "verify", out)
    assert (code, verdict["problems"], verdict["data_sets"]) == (0, [], 1)
    code, pruned = run(capsys, "cache", "--prune", "--out", out)
    assert (code, pruned["pruned"]["data_sets"]) == (0, [])
    (shard,) = (tmp_path / "cache" / "images").rglob("*.safetensors")
    shard.write_bytes(shard.read_bytes()[:-1] + b"!")
    assert main(["data", "verify", out]) == 4
    assert "sha256" in capsys.readouterr().out


def test_a_cache_command_prints_what_it_made(
    source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "cache")
    assert main(["data", "cache", source, "--out", out, "--max-gb", "1"]) == 0
    text = capsys.readouterr().out
    assert "kept" in text
    assert "pruned" in text


MISTAKES = [
    (["inspect", "nowhere.jsonl"], 4, "no such file"),
    (["inspect", "builtin:nothing"], 2, "no bundled"),
    (["cache"], 2, "name a source"),
    (["cache", "--prune", "--out", "nowhere"], 4, "no cache here"),
    (["verify", "nowhere"], 4, "no cache here"),
]


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_answered_in_one_message(
    mistake: tuple[list[str], int, str],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    args, code, words = mistake
    monkeypatch.chdir(tmp_path)
    assert main(["data", *args]) == code
    error = capsys.readouterr().err
    assert words in error
    assert "Traceback" not in error
    assert list(tmp_path.iterdir()) == []


def test_a_resolution_the_model_cannot_take_is_a_config_error(
    source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "cache")
    assert main(["data", "cache", source, "--out", out, "--resolution", "50"]) == 3
    assert "data.resolution" in capsys.readouterr().err
