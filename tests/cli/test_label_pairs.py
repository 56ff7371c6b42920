"""`diffpref label pairs`: images of a folder or a model become data that train."""

import json
from pathlib import Path

import pytest

from diffpref.cli import main
from diffpref.data.labels import read_table, relabelled
from diffpref.data.readers import open_records
from diffpref.data.records import Record
from diffpref.evaluate import candidates
from diffpref.evaluate.pictures import png, to_bytes
from diffpref.io import png_text
from diffpref.rewards import load_scorer
from diffpref.rewards.examine import CAPTIONS, pictures
from tests.models.conftest import write_sd15

FEW = ("--steps", "1", "--guidance", "2")
REWARD = ("--scorer", "world-reward")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_sd15(tmp_path_factory.mktemp("tiny") / "base"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Every built-in picture for every caption but the last, which has one; one of them twice."""
    found = tmp_path / "generated"
    found.mkdir()
    for p, caption in enumerate(CAPTIONS):
        for k, picture in enumerate(pictures()[: 3 if p < 2 else 1]):
            (found / f"{p:04d}-{k}.png").write_bytes(png(to_bytes(picture), {"prompt": caption}))
    (found / "0000-9.png").write_bytes((found / "0000-0.png").read_bytes())
    return found


def records(path: Path) -> list[Record]:
    rows = list(open_records(str(path)).rows())
    assert all(isinstance(row, Record) for row in rows)
    return [row for row in rows if isinstance(row, Record)]


def test_a_folder_becomes_pairs_of_best_and_worst(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "pairs"
    assert main(["label", "pairs", str(folder), *REWARD, "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "2 rows of 3 prompts, 7 images" in said
    assert "1 dropped: only one image of the prompt" in said
    assert f"data.source={out}" in said
    scorer = load_scorer("world-reward")
    direct = {
        (p, k): float(value)
        for p, prompt in enumerate(CAPTIONS)
        for k, value in enumerate(scorer.score(pictures(), prompt).values)
    }
    there = [*((p, k) for p in range(2) for k in range(3)), (2, 0)]
    low, high = min(direct[each] for each in there), max(direct[each] for each in there)
    rows = records(out)
    assert [row.prompt for row in rows] == list(CAPTIONS[:2])
    for p, row in enumerate(rows):
        ranked = sorted(range(3), key=lambda k, p=p: -direct[p, k])
        ends = [ranked[0], ranked[-1]]
        expected = [(direct[p, k] - low) / (high - low) for k in ends]
        assert row.scores == pytest.approx(expected, abs=1e-5)
        written = [(out / image.key).read_bytes() for image in row.images]
        assert written == [(folder / f"{p:04d}-{k}.png").read_bytes() for k in ends]
    table = read_table(out / "labels.jsonl")
    assert table.header["scorers"]["world-reward"]["weights"] == {
        each.file: each.sha256 for each in scorer.info.weights
    }
    assert len(table.scores) == 7
    made = json.loads((out / "made.json").read_text())
    assert made["rule"] == {"make": "pairs", "margin": 0.0, "agree": "all", "users": False}
    assert (made["rows"], made["dropped"]) == (2, {"alone": 1})
    # The table that lies beside the data says the same of them.
    again = list(relabelled(open_records(str(out)), out / "labels.jsonl").rows())
    assert [row.scores for row in again if isinstance(row, Record)] == [
        pytest.approx(row.scores) for row in rows
    ]


def test_another_rule_does_not_score_again(
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "made"
    words = ["label", "pairs", str(folder), "--scorer", "world-reward,world-fidelity"]
    words += ["--out", str(out), "--json"]
    assert main([*words, "--make", "lists", "--agree", "majority"]) == 0
    first = json.loads(capsys.readouterr().out)
    assert first["rows"] == len(records(out))
    assert main([*words, "--make", "all-pairs"]) == 2
    assert "exists already" in capsys.readouterr().err

    def never(*_: object, **__: object) -> None:
        raise AssertionError("scored again")

    monkeypatch.setattr("diffpref.data.making.make_table", never)
    assert main([*words, "--make", "all-pairs", "--force"]) == 0
    second = json.loads(capsys.readouterr().out)
    assert second["scorers"] == first["scorers"]
    assert second["rows"] == len(records(out))
    assert second["rows"] + sum(second["dropped"].values()) == 3 + 3 + 1
    assert main([*words, "--make", "pairs", "--margin", "1", "--force"]) == 4
    said = capsys.readouterr().err
    assert "no row is left: " in said
    assert "x the scorers agree, but by less than the margin" in said
    assert "lower --margin" in said


def test_prompts_may_stand_in_the_names_of_the_images(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    for k, picture in enumerate(pictures()):
        (plain / f"two_red_circles-{k}.png").write_bytes(png(to_bytes(picture)))
    words = ["label", "pairs", str(plain), "--scorer", "world-oracle", "--out", str(tmp_path / "o")]
    assert main(words) == 4
    said = capsys.readouterr().err
    assert "the PNG names no prompt" in said
    assert "--prompts-from filename" in said
    assert "--prompt," not in said  # label pairs has no such option
    assert "--prompts-file" not in said
    assert main([*words, "--prompts-from", "filename", "--make", "lists"]) == 0
    (row,) = records(tmp_path / "o")
    assert row.prompt == "two red circles"
    assert len(row.images) == 3


def test_a_model_makes_the_images_and_a_stopped_run_goes_on(
    base: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "made"
    (tmp_path / "prompts.txt").write_text("\n".join(CAPTIONS))
    words = ["label", "pairs", "--from-model", base, "--prompts", str(tmp_path / "prompts.txt")]
    words += ["--limit", "2", "--images-per-prompt", "3", *REWARD, *FEW, "--out", str(out)]

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("diffpref.cli.label_scoring.Scoring.rows", stop)
        assert main([*words, "--json"]) == 130
    files = sorted((out / "samples").iterdir())
    assert [file.name for file in files] == [f"{p:04d}-{k}.png" for p in (0, 1) for k in (0, 1, 2)]
    capsys.readouterr()
    assert (
        main(["generate", *CAPTIONS[:2], "--model", base, *FEW, "--n", "3", "--out", f"{out}-g"])
        == 0
    )
    same = [Path(f"{out}-g") / file.name for file in files]
    assert [file.read_bytes() for file in files] == [file.read_bytes() for file in same]
    files[4].unlink()
    with monkeypatch.context() as patch:
        made: list[int] = []
        real = candidates.sample
        patch.setattr(
            candidates,
            "sample",
            lambda *a, **k: (made.extend(k["positions"]), real(*a, **k))[1],
        )
        capsys.readouterr()
        assert main([*words, "--json"]) == 0
    assert made == [1]
    assert files[4].read_bytes() == same[4].read_bytes()
    told = json.loads(capsys.readouterr().out)
    assert told["images"] == 6
    assert told["rows"] + sum(told["dropped"].values()) == 2
    facts = json.loads((out / "made.json").read_text())["made_by"]
    assert facts["fingerprint"] == png_text(files[0])["fingerprint"]
    assert (facts["model"], facts["guidance"]) == ("base", "2")
    assert main([*words[:-1], str(out), "--force", "--guidance", "3"]) == 4
    assert "was made with another guidance" in capsys.readouterr().err


def test_what_does_not_fit_together_is_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", str(tmp_path / "out")]
    for words, message in (
        ([*out, *REWARD], "no images are named"),
        ([str(folder), "--from-model", "builtin:base", *out, *REWARD], "give SOURCE or"),
        (["--from-model", "builtin:base", *out, *REWARD], "names no prompts"),
        ([str(folder), *out], "names no scorer"),
        ([str(folder), "--make", "table", *out, *REWARD], "a table is for preference data"),
        ([str(folder), "--out", str(folder), *REWARD], "would replace its own source"),
        ([str(folder), *out, "--scorer", "nobody"], "is not a scorer"),
    ):
        assert main(["label", "pairs", *words]) == 2, words
        assert message in capsys.readouterr().err, words
    assert not (tmp_path / "out").exists()


def test_what_is_made_trains_directly(
    base: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """SmPO and ODPO read the scores of pairs, RankDPO those of lists."""
    for make in ("pairs", "lists"):
        out = str(tmp_path / make)
        words = ["label", "pairs", str(folder), *REWARD, "--make", make, "--out", out]
        assert main(words) == 0
    for preset, make in (("smpo", "pairs"), ("odpo", "pairs"), ("rank_dpo", "lists")):
        changes = [
            f"model.base={base}",
            f"data.source={tmp_path / make}",
            f"data.cache={tmp_path / 'cache'}",
            "data.pairs_per_batch=2",
            "data.labels=null",
            "loop.micro_batches=1",
        ]
        words = ["train", f"shapes/{preset}", *changes, "--smoke"]
        assert main([*words, "--out", str(tmp_path / preset)]) == 0, preset
    capsys.readouterr()
