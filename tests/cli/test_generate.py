"""`diffpref generate`."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from diffpref import __version__
from diffpref.cli import main
from diffpref.evaluate.benchmarks.export import Exporter
from diffpref.evaluate.pictures import to_bytes
from diffpref.io import open_image, png_text
from diffpref.models import (
    AdapterConfig,
    load_bundle,
    make_adapter,
    save_lora,
    trainable_parameters,
)
from diffpref.models.sample import SampleSettings, sample
from diffpref.rewards.inputs import to_pixels
from tests.models.conftest import write_sd15

FEW = ("--steps", "1", "--guidance", "2")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sd15(tmp_path_factory.mktemp("tiny") / "base")


def test_images_say_how_they_were_made(base: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ["generate", "a red cube", "a disc", "--model", str(base), "--out", str(out)]
    assert main([*words, *FEW, "--seed", "4", "--n", "2", "--negative", "blue"]) == 0
    names = sorted(path.name for path in out.iterdir())
    assert names == ["0000-4.png", "0000-5.png", "0001-4.png", "0001-5.png"]
    told = png_text(out / "0001-5.png")
    assert told.pop("fingerprint") == load_bundle(str(base)).fingerprint
    assert told == {
        "prompt": "a disc",
        "seed": "5",
        "position": "1",
        "model": "base",
        "sampler": "ddim",
        "steps": "1",
        "guidance": "2",
        "negative": "blue",
        "size": "32x32",
        "diffpref": __version__,
    }


def test_pixels_are_those_of_the_python_call_whatever_the_batch(base: Path, tmp_path: Path) -> None:
    words = ["generate", "a", "b", "c", "--model", str(base), "--out", str(tmp_path), *FEW]
    assert main([*words, "--batch", "2"]) == 0
    settings = SampleSettings(steps=1, guidance=2.0)
    expected = to_bytes(sample(load_bundle(str(base)), ["a", "b", "c"], settings=settings))
    paths = [tmp_path / f"{p:04d}-0.png" for p in range(3)]
    found = to_bytes(torch.stack(to_pixels(paths)))
    assert int((found.int() - expected.int()).abs().max()) <= 1


def test_existing_files_are_refused_before_anything_is_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "0001-0.png").write_text("mine")
    words = ["generate", "a", "b", "--model", "./no-model", "--out", str(tmp_path)]
    assert main(words) == 2
    assert "0001-0.png: exists already" in capsys.readouterr().err
    assert (tmp_path / "0001-0.png").read_text() == "mine"


def test_force_replaces_and_json_lists_the_files(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "0000-0.png").write_text("mine")
    words = ["generate", "a", "--model", str(base), "--out", str(tmp_path), *FEW]
    assert main([*words, "--force", "--json"]) == 0
    path = str(tmp_path / "0000-0.png")
    assert json.loads(capsys.readouterr().out) == [{"file": path, "prompt": "a", "seed": 0}]
    assert open_image(path, where="x").size == (32, 32)


def test_prompts_come_from_a_file(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "p.jsonl").write_text('{"prompt": "a"}\n{"prompt": "b"}\n{"prompt": "c"}\n')
    words = ["generate", "--prompts", str(tmp_path / "p.jsonl"), "--limit", "2"]
    assert main([*words, "--model", str(base), "--out", str(tmp_path / "out"), *FEW]) == 0
    out, err = capsys.readouterr()
    assert [Path(line).name for line in out.splitlines()] == ["0000-0.png", "0001-0.png"]
    assert "generating: 2 of 2 images" in err
    assert "images/s" in err


def test_a_lora_changes_the_image_by_its_scale(base: Path, tmp_path: Path) -> None:
    bundle = load_bundle(str(base))
    make_adapter(bundle, AdapterConfig(rank=2))
    for value in trainable_parameters(bundle.unet).values():
        value.data += 1.0
    save_lora(tmp_path / "lora", bundle)
    common = ["--model", str(base), *FEW]
    with_lora = ["--lora", str(tmp_path / "lora")]
    assert main(["generate", "a", *common, "--out", str(tmp_path / "base")]) == 0
    assert main(["generate", "a", *common, *with_lora, "--out", str(tmp_path / "full")]) == 0
    none = [*with_lora, "--lora-scale", "0", "--out", str(tmp_path / "none")]
    assert main(["generate", "a", *common, *none]) == 0
    plain, full, off = (
        to_pixels(tmp_path / name / "0000-0.png")[0] for name in ("base", "full", "none")
    )
    assert torch.allclose(plain, off, atol=1 / 255)
    assert not torch.allclose(plain, full, atol=1 / 255)
    told = png_text(tmp_path / "none" / "0000-0.png")
    assert (told["lora"], told["lora_scale"], told["model"]) == ("lora", "0", "base")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give prompts or --prompts FILE"),
        (["a", "--prompts", "p.txt"], "not both"),
        (["a", "--run", "nowhere"], "is not a run folder"),
        (["a", "--sampler", "dim"], "did you mean 'ddim'"),
        (["a", "--steps", "0"], "0 steps are not possible"),
        (["a", "--width", "30"], "the nearest multiple of 8 is 32"),
    ],
)
def test_wrong_words_are_usage_errors_that_leave_nothing(
    words: list[str],
    message: str,
    base: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    code = main(["generate", *words, "--model", str(base), "--out", str(tmp_path / "out")])
    assert code == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.png"))


GENEVAL = """{"tag": "colors", "include": [{"class": "cup", "count": 1}], "prompt": "a blue cup"}
{"tag": "counting", "include": [{"class": "dog", "count": 2}], "prompt": "two dogs"}
"""


def test_a_benchmark_is_laid_out_as_its_evaluator_reads_it(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "m.jsonl").write_text(GENEVAL)
    words = ["generate", "--prompts", f"geneval:{tmp_path}/m.jsonl", "--model", str(base), *FEW]
    flat, laid = tmp_path / "flat", tmp_path / "laid"
    assert main([*words, "--n", "2", "--out", str(flat)]) == 0
    assert "note:" not in capsys.readouterr().err
    laid_words = [*words, "--layout", "benchmark", "--out", str(laid)]
    assert main([*laid_words, "--n", "2", "--json"]) == 0
    out, err = capsys.readouterr()
    assert "published numbers have 4 images per prompt, not 2" in err
    assert len(json.loads(out)) == 4
    for p, line in enumerate(GENEVAL.splitlines()):
        folder = laid / f"{p:05d}"
        assert json.loads((folder / "metadata.jsonl").read_text()) == json.loads(line)
        for k in range(2):
            same = (flat / f"{p:04d}-{k}.png").read_bytes()
            assert (folder / "samples" / f"{k:05d}.png").read_bytes() == same
    assert main([*laid_words, "--n", "1"]) == 2
    assert "exists already" in capsys.readouterr().err


def test_images_of_one_picture_are_those_of_their_seeds(
    base: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waiting: list[int] = []
    put = Exporter.put

    def watched(self: Exporter, *args: Any) -> Path | None:
        path = put(self, *args)
        waiting.append(len(self.waiting))
        return path

    monkeypatch.setattr(Exporter, "put", watched)
    (tmp_path / "prompts").mkdir()
    for name, text in (("b1", "a disc"), ("a2", "a red cube"), ("c3", "two cubes")):
        (tmp_path / "prompts" / f"{name}.txt").write_text(text)
    words = ["generate", "--prompts", f"dpg:{tmp_path}/prompts", "--model", str(base), *FEW]
    words += ["--n", "4", "--seed", "7", "--batch", "2"]
    assert main([*words, "--out", str(tmp_path / "flat")]) == 0
    capsys.readouterr()
    laid = [*words, "--layout", "benchmark", "--out", str(tmp_path / "grids")]
    assert main(laid) == 0
    out = capsys.readouterr().out.splitlines()
    assert [Path(line).name for line in out] == ["a2.png", "b1.png", "c3.png"]
    for p, name in enumerate(("a2", "b1", "c3")):
        sheet = open_image(tmp_path / "grids" / f"{name}.png", where="x")
        for k, corner in enumerate([(0, 0), (32, 0), (0, 32), (32, 32)]):
            crop = sheet.crop((*corner, corner[0] + 32, corner[1] + 32))
            one = open_image(tmp_path / "flat" / f"{p:04d}-{7 + k}.png", where="x")
            assert crop.tobytes() == one.tobytes()
    assert png_text(tmp_path / "grids" / "b1.png")["seed"] == "7,8,9,10"
    assert max(waiting) == 2, "only the images of one batch of prompts are held in memory"


def test_a_layout_needs_a_benchmark(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "p.txt").write_text("a\n")
    (tmp_path / "hpsv2").mkdir()
    (tmp_path / "hpsv2" / "anime.json").write_text('["a", "b"]')
    common = ["--model", str(base), "--layout", "benchmark", "--out", str(tmp_path / "out"), *FEW]
    for words, message in (
        (["a"], "names no benchmark"),
        (["--prompts", str(tmp_path / "p.txt")], "names no benchmark"),
        (["--prompts", f"hpsv2:{tmp_path}/hpsv2", "--n", "2"], "has 1 per prompt, not 2"),
    ):
        assert main(["generate", *words, *common]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
