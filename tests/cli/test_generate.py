"""`diffpref generate`."""

import json
from pathlib import Path

import pytest
import torch

from diffpref import __version__
from diffpref.cli import main
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
