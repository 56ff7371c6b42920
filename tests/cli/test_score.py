"""`diffpref score`: prompts, journals, files and the page."""

import csv
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from diffpref.cli import main
from diffpref.evaluate.pictures import png, to_bytes
from diffpref.rewards import load_scorer
from diffpref.rewards.examine import CAPTIONS, pictures
from tests.rewards.tiny import TINY

ORACLES = ("--scorer", "world-oracle,world-fidelity")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The built-in pictures, their prompts in the PNG, in the name and in a table."""
    found = tmp_path / "images"
    found.mkdir()
    lines = []
    for number, (picture, caption) in enumerate(zip(pictures(), CAPTIONS, strict=True)):
        file = found / f"{caption.replace(' ', '_')}-{number}.png"
        file.write_bytes(png(to_bytes(picture), {"prompt": caption}))
        lines.append(f"{file.name},{caption}")
    (found / "captions.csv").write_text("file,prompt\n" + "\n".join(lines) + "\n")
    return found


def scores(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, list[float]]:
    assert main(["score", *words, *ORACLES, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {each["prompt"] for each in found} == {*CAPTIONS}
    return {name: [each["scores"][name] for each in found] for name in found[0]["scores"]}


def test_every_source_of_prompts_gives_the_same_scores(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = scores(capsys, str(folder))
    assert sorted(expected["world-fidelity"]) == [1, 1, 1]
    for source in ("png-metadata", "filename", "csv", str(folder / "captions.csv")):
        assert scores(capsys, str(folder), "--prompts-from", source) == expected
    files = [str(file) for file in sorted(folder.glob("*.png"))]
    order = [next(c for c in CAPTIONS if c.replace(" ", "_") in file) for file in files]
    (folder / "lines.txt").write_text("\n".join(order))
    lines = ("--prompts-file", str(folder / "lines.txt"))
    assert scores(capsys, *files, *lines) == expected
    assert main(["score", *files, *lines, "--prompts-from", "csv"]) == 2
    assert "not both" in capsys.readouterr().err


def test_a_run_that_stops_at_a_bad_image_goes_on_where_it_was(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "zzz.png").write_bytes(b"no picture")
    out, page = tmp_path / "new" / "scores.parquet", tmp_path / "scores.html"
    words = ["score", str(folder), "--prompts-from", "captions.csv", *ORACLES, "--out", str(out)]
    words[3] = str(folder / "captions.csv")
    with (folder / "captions.csv").open("a") as stream:
        stream.write(f"zzz.png,{CAPTIONS[0]}\n")
    assert main(words) == 4
    assert (
        "zzz.png: world-oracle cannot score it: the content is unknown" in capsys.readouterr().err
    )
    assert not out.exists()
    journal = tmp_path / "new" / "scores.parquet.partial"
    assert journal.exists()
    assert main([*words, "--skip-bad", "--report", str(page)]) == 0
    said = capsys.readouterr()
    assert said.err.count("zzz.png: unreadable: the content is unknown") == 1
    assert not journal.exists()
    table = pq.read_table(out)
    assert table["world-fidelity"].to_pylist().count(None) == 1
    assert [row for row in table["world-fidelity"].to_pylist() if row is not None] == [1, 1, 1]
    text = page.read_text()
    assert text.count("<svg") == 2
    assert "unreadable" in text
    assert str(tmp_path) not in text
    assert main(words) == 2
    assert main([*words[:-2], "--report", str(page)]) == 2
    assert "exists already" in capsys.readouterr().err
    assert main([*words[:-1], str(tmp_path / "x.xlsx")]) == 2
    assert "must end in one of .csv, .parquet, .json" in capsys.readouterr().err


def test_published_weights_are_found_in_the_folder_that_is_named(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    TINY["laion-aesthetic-v2"](tmp_path / "weights" / "laion-aesthetic-v2")
    plain = folder.parent / "plain"
    plain.mkdir()
    (plain / "0.png").write_bytes(png(to_bytes(pictures()[0])))
    tiny = ["--weights-dir", str(tmp_path / "weights"), "--any-size"]
    # This scorer ignores prompts, so none need be known.
    words = ["score", str(plain), "--scorer", "laion-aesthetic-v2", *tiny]
    assert main([*words, "--out", str(tmp_path / "s.csv")]) == 0
    with (tmp_path / "s.csv").open() as stream:
        (row,) = csv.DictReader(stream)
    direct = load_scorer(
        "laion-aesthetic-v2", weights_dir=tmp_path / "weights", published=False
    ).score([plain / "0.png"], "")
    assert float(row["laion-aesthetic-v2"]) == pytest.approx(float(direct.values[0]), abs=1e-5)
    assert main([*words, "--dtype", "bf16", "--json"]) == 0
    out = capsys.readouterr().out
    half = json.loads(out[out.index("[") :])[0]["scores"]["laion-aesthetic-v2"]
    assert half != float(row["laion-aesthetic-v2"])
    assert half == pytest.approx(float(row["laion-aesthetic-v2"]), abs=0.1)
    assert main(["score", str(plain), "--scorer", "laion-aesthetic-v2,world-oracle", *tiny]) == 4
    assert "the PNG names no prompt" in capsys.readouterr().err


def test_pictures_of_no_bundled_world_ask_for_a_scorer_instead_of_being_blamed(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = torch.zeros(3, 24, 40)
    (tmp_path / "wide.png").write_bytes(png(to_bytes(picture), {}))
    wide = str(tmp_path / "wide.png")
    assert main(["score", wide, "--prompt", "x"]) == 2
    said = capsys.readouterr().err
    assert "names no scorer" in said
    assert "wide.png is 40 x 24 pixels" in said
    assert "name a --scorer" in said
    assert main(["score", wide, "--prompt", "x", "--scorer", "brightness"]) == 0
    assert main(["score", str(folder)]) == 0
    assert "world-fidelity" in capsys.readouterr().out


def test_an_image_without_a_prompt_is_answered_with_the_options_of_score(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bare.png").write_bytes(png(to_bytes(torch.zeros(3, 32, 32)), {}))
    assert main(["score", str(tmp_path), "--scorer", "world-fidelity"]) == 4
    assert "give --prompt, --prompts-file or --prompts-from" in capsys.readouterr().err


def test_every_trouble_is_told_once_and_what_is_left_out_is_named(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "broken.png").write_bytes(b"no picture")
    (folder / "moving.gif").write_bytes(b"GIF89a")
    long = "two red circles on a white background " * 20
    words = ["score", str(folder), "--prompt", long, "--scorer", "brightness,world-reward"]
    assert main([*words, "--skip-bad"]) == 0
    said = capsys.readouterr().err
    assert said.count("broken.png: unreadable: the content is unknown") == 1
    assert "moving.gif; convert them to score them" in said
    cut = "0.png: world-reward: truncated: its prompt is longer than the scorer reads, and was cut"
    assert said.count(cut) == 1


def test_the_number_of_flags_that_are_not_shown_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(6):
        (tmp_path / f"{number}.png").write_bytes(b"")
    words = ["score", str(tmp_path), "--scorer", "brightness,warmth", "--skip-bad"]
    assert main(words) == 0
    said = capsys.readouterr().err
    assert said.count("unreadable: the file is empty") == 5
    assert "and 1 more flag; --out or --report has all" in said
