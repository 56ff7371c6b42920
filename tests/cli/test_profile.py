"""`diffpref profile`, in process, on rendered pictures and the bundled population."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from diffpref.cli import main
from diffpref.data.records import Record
from diffpref.data.writers import image_of, write_jsonl
from diffpref.io import png_bytes
from diffpref.rewards.pictures import pil_of
from diffpref.world.captions import parse
from diffpref.world.render import render
from diffpref.world.scene import sample_scenes
from diffpref.world.taste import warmth

PROMPTS = ("two red circles", "one blue square on the left", "three small triangles")


def png(pixels: torch.Tensor) -> bytes:
    return png_bytes(pil_of(pixels), {})


def rendered(count: int, seed: int) -> list[tuple[str, torch.Tensor]]:
    texts = [PROMPTS[row % len(PROMPTS)] for row in range(count)]
    pixels = render(sample_scenes(seed, torch.arange(count), [parse(text) for text in texts]))
    return list(zip(texts, pixels, strict=True))


def liker(seed: int, user: str = "me", count: int = 8) -> list[Record]:
    """Votes of somebody who likes warm pictures."""
    rows: list[Record] = []
    ones, twos = rendered(count, seed), rendered(count, seed + 100)
    for (text, one), (_, two) in zip(ones, twos, strict=True):
        first, second = (float(warmth(each[None])) for each in (one, two))
        images = tuple(image_of(png(each)) for each in (one, two))
        scores = (1.0, 0.0) if first > second else (0.0, 1.0)
        rows.append(Record(prompt=text, images=images, scores=scores, user=user))
    return rows


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Votes a.jsonl and b.jsonl of one person, both.jsonl of two, and two profiles of a."""
    root = tmp_path_factory.mktemp("profiles")
    write_jsonl(root / "a", liker(0))
    write_jsonl(root / "b", liker(1, count=5))
    write_jsonl(root / "both", [*liker(0, "me", 3), *liker(2, "you", 3)])
    cache = ["--cache", str(root / "cache")]
    for name, more in (("kept", ["--keep-statistics"]), ("plain", [])):
        out = ["-o", str(root / f"{name}.profile")]
        assert main(["profile", "fit", str(root / "a"), *out, *cache, *more]) == 0
    return root


def run(capsys: pytest.CaptureFixture[str], *args: str | Path) -> tuple[int, Any, str]:
    code = main(["profile", *map(str, args), "--json"])
    captured = capsys.readouterr()
    return code, json.loads(captured.out) if captured.out else {}, captured.err


def test_fit_and_show_say_what_was_learned_and_how_sure(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found, _ = run(capsys, "show", folder / "kept.profile", "--votes")
    assert code == 0
    assert found["pairs"] == len(found["votes"]) == 8
    assert found["encoder"]["id"] == "bt/world-reward"
    assert found["prior"]["id"] == "bt-world"
    assert found["words"]["liked"][0] == "warm colours"
    assert found["left_out"]["n"] == 8
    assert (folder / "kept.profile").stat().st_size < 20_000
    assert main(["profile", "show", str(folder / "plain.profile")]) == 0
    out = capsys.readouterr().out
    for line in ("votes left out", "by the population alone", "likes     warm colours", "kB"):
        assert line in out
    assert out.splitlines()[-1] == found["verdict"]


def test_adding_and_forgetting_are_exact_with_statistics(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept, cache = folder / "kept.profile", ("--cache", folder / "cache")
    more = tmp_path / "more.profile"
    code, after, err = run(capsys, "add", kept, folder / "b", "-o", more, *cache)
    assert code == 0
    assert after["pairs"] == 13
    assert any("5 votes are new; exact" in note for note in after["notes"]), err
    code, again, _ = run(capsys, "add", more, folder / "b", *cache)
    assert again["embedding"] == after["embedding"]
    code, less, _ = run(capsys, "forget", more, "--votes", folder / "b", *cache)
    assert code == 0
    _, before, _ = run(capsys, "show", kept)
    for name in ("embedding", "pairs", "left_out", "words", "entropy_bits"):
        assert less[name] == before[name]
    _, shown, _ = run(capsys, "show", kept, "--votes")
    name = shown["votes"][0]["id"]
    code, one, _ = run(capsys, "forget", kept, "--pair", name[:10], "-o", more)
    assert (code, one["pairs"]) == (0, 7)


def test_without_statistics_adding_says_that_it_is_near_and_forgetting_is_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, cache = tmp_path / "x.profile", ("--cache", folder / "cache")
    code, found, _ = run(capsys, "add", folder / "plain.profile", folder / "b", "-o", out, *cache)
    assert (code, found["exact"], found["pairs"]) == (0, False, 13)
    assert any("Laplace" in note for note in found["notes"])
    code, _, err = run(capsys, "forget", out, "--pair", "0123456789")
    assert code == 2
    assert "--keep-statistics" in err


def test_a_profile_is_a_scorer_wherever_one_is_asked_for(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for row, (_, pixels) in enumerate(rendered(4, 7)):
        (tmp_path / f"{row}.png").write_bytes(png(pixels))
    scorer = f"profile:{folder / 'kept.profile'}"
    args = ["score", str(tmp_path), "--prompt", PROMPTS[0], "--scorer", scorer, "--json"]
    assert main(args) == 0
    assert "profile" in capsys.readouterr().out


def test_asking_names_the_same_pairs_of_one_prompt_twice(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for row, (_, pixels) in enumerate(rendered(6, 9)):
        (tmp_path / f"{row}.png").write_bytes(png(pixels))
    args = ("ask", folder / "kept.profile", "--candidates", tmp_path, "--count", "3")
    cache = ("--cache", folder / "cache")
    code, found, _ = run(capsys, *args, *cache)
    assert (code, len(found)) == (0, 3)
    assert found[0]["bits"] >= found[1]["bits"] > 0
    assert run(capsys, *args, *cache)[1] == found
    code, found, _ = run(capsys, *args, "--prompts-from", "filename", *cache)
    assert code == 4, "a file's name that is a number holds no prompt"


def test_likes_and_dislikes_say_that_subject_matter_counts_too(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = sorted(rendered(9, 11), key=lambda each: float(warmth(each[1][None])))
    for name, some in (("bad", pictures[:4]), ("good", pictures[-3:])):
        (tmp_path / name).mkdir()
        for row, (_, pixels) in enumerate(some):
            (tmp_path / name / f"{row}.png").write_bytes(png(pixels))
    both = ("--liked", tmp_path / "good", "--disliked", tmp_path / "bad")
    cache = ("--cache", folder / "cache")
    code, found, _ = run(capsys, "fit", *both, "-o", tmp_path / "a.profile", *cache)
    assert (code, found["pairs"], found["sources"]) == (0, 12, ["likes"])
    assert found["effective_pairs"] == pytest.approx(3.0, abs=1e-5)
    assert any("subject" in note for note in found["notes"])
    code, found, _ = run(capsys, "fit", *both[:2], "-o", tmp_path / "b.profile", *cache)
    assert (code, found["pairs"]) == (0, 3)
    assert any("weaker than pairs" in note for note in found["notes"])


def test_a_mixture_and_a_table_profile(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, cache = tmp_path / "t.profile", ("--cache", folder / "cache")
    code, found, _ = run(capsys, "fit", folder / "a", "--encoder", "table", "-o", table, *cache)
    assert (code, found["encoder"]["id"]) == (0, "table/world-reward")
    args = (folder / "kept.profile", table, "--weights", "0.7,0.3", "-o", tmp_path / "m.profile")
    code, found, _ = run(capsys, "mix", *args)
    assert (code, found["sources"], found["pairs"]) == (0, ["mix"], 16)


def test_mistakes_are_answered_by_what_to_do(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, cache = ("-o", tmp_path / "x.profile"), ("--cache", folder / "cache")
    for args, code, why in (
        (("fit", *out), 2, "--liked DIR"),
        (("fit", folder / "both", *out, *cache), 2, "name one with --user; me, you"),
        (("fit", folder / "both", "--user", "mee", *out, *cache), 2, "did you mean 'me'"),
        (("fit", folder / "a", "--prior", "bt-wrld", *out), 2, "bundled: bt-world"),
        (("fit", folder / "a", "-o", folder / "kept.profile"), 2, "add --force"),
        (("show", tmp_path / "none.profile"), 4, "cannot be read"),
        (("mix", folder / "kept.profile", "--weights", "a", *out), 2, "is not a number"),
        (("forget", folder / "kept.profile"), 2, "no vote to forget"),
        (("ask", folder / "kept.profile", "--candidates", tmp_path / "no"), 4, "no such folder"),
    ):
        found, _, err = run(capsys, *args)
        assert (found, why in err) == (code, True), err
    assert not (tmp_path / "x.profile").exists()


def test_one_of_several_people_is_fitted_alone(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ("fit", folder / "both", "--user", "me", "-o", tmp_path / "x.profile")
    code, found, _ = run(capsys, *args, "--cache", folder / "cache")
    assert (code, found["pairs"]) == (0, 3)
    assert found["verdict"].startswith("too few pairs")


def test_deleting_needs_a_profile_and_a_yes(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy, other = tmp_path / "copy.profile", tmp_path / "photo.png"
    copy.write_bytes((folder / "kept.profile").read_bytes())
    other.write_bytes(b"not a profile at all")
    code, _, err = run(capsys, "delete", copy)
    assert (code, copy.exists(), "--yes" in err) == (2, True, True)
    assert run(capsys, "delete", other, "--yes")[0] == 4
    assert other.exists()
    code, found, _ = run(capsys, "delete", copy, "--yes")
    assert (code, found, copy.exists()) == (0, {"deleted": str(copy)}, False)
