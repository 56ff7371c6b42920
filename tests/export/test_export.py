"""`diffpref export` as a user runs it: every form opened by stock code, the card, refusals."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline, UNet2DConditionModel
from peft import PeftModel
from safetensors import safe_open
from safetensors.torch import load_file

import diffpref
from diffpref.cli import main
from diffpref.errors import UsageError
from diffpref.evaluate.opened import Place
from diffpref.evaluate.runs import open_weights
from diffpref.evaluate.subject import open_model
from diffpref.export import write
from diffpref.models import Bundle, load_bundle
from diffpref.models.lora_layers import lora_layers
from diffpref.models.readback import probe
from tests.export.conftest import CANARIES


def export(*words: object) -> int:
    return main(["export", *map(str, words)])


@pytest.fixture(scope="session")
def trained(run: Path) -> Bundle:
    """The run's result in float64: in float32 a LoRA and its folded form round by 1e-6."""
    return open_model(str(run), place=Place(dtype="fp64")).bundle


@pytest.fixture(scope="session")
def said(trained: Bundle) -> torch.Tensor:
    """What it answers to fixed noise."""
    return probe(trained)


def said_by(trained: Bundle, unet: Any) -> torch.Tensor:
    """What another network answers in its place."""
    return probe(replace(trained, unet=unet.double()))


def opened_by_stock(form: str, out: Path, base: Path) -> Any:
    pipe = DiffusionPipeline.from_pretrained(out if form == "pipeline" else base)
    if form == "peft":
        stock = UNet2DConditionModel.from_pretrained(base / "unet")
        PeftModel.from_pretrained(stock, out / "unet")
        return stock
    if form in {"diffusers", "kohya"}:
        name = "out.safetensors" if form == "kohya" else None
        pipe.load_lora_weights(out, weight_name=name)
    return pipe.unet


@pytest.mark.parametrize("form", ["diffusers", "peft", "kohya", "pipeline"])
def test_every_form_is_the_trained_network_in_stock_code_and_names_nobody(
    run: Path,
    base: Path,
    trained: Bundle,
    said: torch.Tensor,
    tmp_path: Path,
    form: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    assert export(run, out, "--as", form, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["difference"] <= 3e-6
    unet = opened_by_stock(form, out, base).requires_grad_(False).eval()
    assert (said_by(trained, unet) - said).abs().max() <= 1e-6
    assert (said_by(trained, load_bundle(str(base)).unet) - said).abs().max() > 1e-4
    files = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert set(told["files"]) == files >= {"README.md", "diffpref_export.json"}
    for path in out.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            found = [word for word in (*CANARIES, str(tmp_path)) if word.encode() in data]
            assert found == [], path.name


def measured(run: Path, /, **changes: str) -> dict[str, Any]:
    """What `evaluate winrate` writes of this run, as far as a card reads it."""
    own = {"model": open_model(str(run)).facts["model"], "run": "run", "result": "LoRA"}
    return {
        "a": "x",
        "seeds": [0, 1],
        "b": "base",
        "facts": {
            "x": {"sampler": "ddim", "steps": "50", "guidance": "7.5", **own, **changes},
        },
        "rates": {"pickscore": {"rate": 0.625, "low": 0.5, "high": 0.75, "n": 40}},
    }


def test_python_writes_the_same_bytes_as_the_command(run: Path, tmp_path: Path) -> None:
    made = diffpref.export_model(run, tmp_path / "python" / "mine", form="kohya", dtype="fp16")
    assert export(run, tmp_path / "command" / "mine", "--as", "kohya", "--dtype", "fp16") == 0
    one, two = (
        {path.name: path.read_bytes() for path in (tmp_path / by / "mine").iterdir()}
        for by in ("python", "command")
    )
    assert one == two
    assert made.files == {name: len(data) for name, data in one.items()}
    assert (made.form, made.what, made.out.parent.name) == ("kohya", "LoRA", "python")
    with pytest.raises(UsageError, match="holds an earlier export"):
        diffpref.export_model(run, tmp_path / "python" / "mine", form="kohya")


def test_a_measurement_of_another_model_does_not_come_on_the_card(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "w.json").write_text(json.dumps(measured(run, run="better-run")))
    assert export(run, tmp_path / "my", "--results", tmp_path / "w.json") == 4
    err = capsys.readouterr().err
    assert "its A has run better-run, not run\n  measure this one: diffpref evaluate" in err
    assert not (tmp_path / "my").exists()


def test_the_card_says_what_the_run_knows(run: Path, tmp_path: Path) -> None:
    (tmp_path / "w.json").write_text(json.dumps(measured(run)))
    assert export(run, tmp_path / "my", "--results", tmp_path / "w.json", "--licence", "mit") == 0
    card = (tmp_path / "my" / "README.md").read_text()
    for line in (
        "license: mit",
        "# my",
        "| strength, here and in the Salesforce script, beta | 2000 |",
        "| strength, in the Hugging Face script, beta | 1000 |",
        "| strength, kappa: the logit is -kappa times the gap of mean squared errors | 1000 |",
        f"1024 latent numbers | {1000 / 1024:.4g} |",
        "| what trained | LoRA, rank 2, alpha 7 |",
        "| kept | 4 |",
        "| users | 1 |",
        "| ties are | drop |",
        "| source | a local data set |",
        "| pickscore | base | 0.625 | 0.500 to 0.750 | 40 x 2 | evaluate winrate, ddim, 50 steps, "
        "guidance 7.5 |",
        "not stated; ask its owner before you publish",
        "@misc{wallace2023diffusion,",
    ):
        assert line in card
    identity = open_weights(run, Place(), average=True, checkpoint="newest")
    assert identity.facts["fingerprint"] in card
    from diffpref.train.store import Store

    latest = Store(run / "checkpoints").latest()
    assert latest is not None
    assert f"| fingerprint | {latest.identity['data']} |" in card


def test_averages_and_weights_of_any_step_can_be_written(run: Path, tmp_path: Path) -> None:
    """The result of a run with an average is its average, at the last step."""
    written = {}
    for weights, step in (("ema", "1"), ("last", "1"), ("ema", "newest"), ("last", "2")):
        out = tmp_path / f"{weights}{step}"
        words = ("--weights", weights, "--checkpoint", step)
        assert export(run, out, *words, "--no-check") == 0
        written[weights, step] = load_file(out / "pytorch_lora_weights.safetensors")
    result = load_file(run / "pytorch_lora_weights.safetensors")
    assert all(torch.equal(written["ema", "newest"][name], each) for name, each in result.items())
    kept = load_file(run / "checkpoints" / "step-00000001" / "trainable.safetensors")
    stored = {name.replace(".default", ""): value for name, value in kept.items()}
    for name, value in written["last", "1"].items():
        assert torch.equal(stored[name.removeprefix("unet.")], value)
    up = next(name for name in result if "lora_B" in name)
    assert len({float(each[up].double().sum()) for each in written.values()}) == 4


def test_a_file_of_its_own_can_lie_among_others_and_is_not_overwritten(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "loras").mkdir()
    (tmp_path / "loras" / "theirs.safetensors").write_bytes(b"mine")
    file = tmp_path / "loras" / "my.safetensors"
    assert export(run, file, "--as", "kohya", "--dtype", "fp16", "--no-check") == 0
    assert sorted(path.name for path in (tmp_path / "loras").iterdir()) == [
        "my.safetensors",
        "theirs.safetensors",
    ]
    with safe_open(file, "pt") as stored:
        assert stored.metadata()["modelspec.title"] == "my"
        assert stored.metadata()["ss_network_alpha"] == "7"
    assert export(run, file, "--as", "kohya") == 2
    assert "exists already\n  add --force" in capsys.readouterr().err


def test_what_is_there_is_kept_unless_it_is_an_older_export_and_force_says_so(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert export(run, out, "--no-check") == 0
    (out / "extra.txt").write_text("mine")
    assert export(run, out) == 2
    assert "holds an earlier export\n  add --force" in capsys.readouterr().err
    assert export(run, out, "--as", "peft", "--force", "--no-check") == 0
    assert not (out / "extra.txt").exists()
    assert (out / "unet").is_dir()
    (tmp_path / "diary").mkdir()
    (tmp_path / "diary" / "a.txt").write_text("mine")
    assert export(run, tmp_path / "diary", "--force") == 2
    assert "holds something else\n  choose a new folder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_an_export_that_reads_back_as_another_network_is_not_kept(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def wrong(net: Any) -> Any:
        return [replace(each, alpha=2 * each.alpha) for each in lora_layers(net)]

    monkeypatch.setattr("diffpref.models.kohya.lora_layers", wrong)
    assert export(run, tmp_path / "out", "--as", "kohya") == 5
    err = capsys.readouterr().err
    assert "read back, the network's answer differs by" in err
    assert "nothing was written" in err
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_older_export_as_it_was(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import errno

    out = tmp_path / "out"
    assert export(run, out, "--no-check") == 0
    before = {path.name: path.read_bytes() for path in out.iterdir()}

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(write, "write_manifest", full)
    assert export(run, out, "--no-check", "--force") == 10
    assert "nothing older was damaged" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--as", "user"], "the model has no user adapter\n  write --as diffusers"),
        (["--as", "lora"], "'lora' is not a choice"),
        (["--checkpoint", "1"], "the result is no checkpoint\n  add --weights ema"),
        (["--weights", "ema", "--checkpoint", "9"], "there is no such checkpoint\n  choose newest"),
        (["--weights", "ema", "--checkpoint", "best"], "kept: 1, 2"),
        (["--as", "kohya", "--profile", "me.safetensors"], "only a user adapter hears a profile"),
        (["--results", "no.json"], "is no result of evaluate winrate\n  give the winrate.json"),
        (["--push", "me"], "is no repository\n  write it as OWNER/NAME"),
        (["--push", "me/x"], "HF_HUB_OFFLINE is set, and an upload needs the hub\n  leave --push"),
    ],
)
def test_a_mistake_is_told_with_what_to_do(
    run: Path, tmp_path: Path, words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(run, tmp_path / "out", *words) != 0
    err = capsys.readouterr().err
    assert told in err
    assert "Traceback" not in err
    assert not (tmp_path / "out").exists()


def test_only_what_was_trained_can_be_written(
    base: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert export(base, tmp_path / "out") == 2
    assert "holds nothing that was trained\n  give a run folder, or" in capsys.readouterr().err


@pytest.mark.slow
def test_a_lora_of_others_is_written_anew_by_base_plus_lora(
    run: Path, base: Path, trained: Bundle, said: torch.Tensor, tmp_path: Path
) -> None:
    assert export(run, tmp_path / "k.safetensors", "--as", "kohya", "--no-check") == 0
    assert export(f"{base}+{tmp_path / 'k.safetensors'}", tmp_path / "p", "--as", "peft") == 0
    unet = opened_by_stock("peft", tmp_path / "p", base).requires_grad_(False).eval()
    assert (said_by(trained, unet) - said).abs().max() <= 1e-6
    assert "Not recorded: it was made anew" in (tmp_path / "p" / "README.md").read_text()
