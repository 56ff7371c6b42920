"""`diffpref scorers`."""

import json
import os
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

from diffpref.cli import main
from diffpref.io import load_weights
from diffpref.rewards import SCORERS
from diffpref.rewards.text.cards import TEXT_SCORERS
from tests.rewards.text.tiny_llm import write_classifier, write_gpm
from tests.rewards.tiny import TINY, clip_net

NAMES = ("pickscore", "hpsv2.1", "laion-aesthetic-v2")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Tiny weights of a few scorers, and of one variant of clipscore."""
    folder = tmp_path_factory.mktemp("weights")
    for name in NAMES:
        TINY[name](folder / name)
    (folder / "clipscore").mkdir()
    (folder / "clipscore" / "hessel").symlink_to(folder / "pickscore")
    return str(folder)


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DIFFPREF_WEIGHTS", raising=False)


def told(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    return json.loads(capsys.readouterr().out)


def test_the_list_says_of_every_scorer_whether_it_is_here(
    weights: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["scorers", "list", "--json", "--weights-dir", weights]) == 0
    found = {each["name"]: each for each in json.loads(capsys.readouterr().out)}
    assert {*SCORERS} <= {*found}
    for name, card in SCORERS.items():
        assert found[name]["kind"] == card.kind
        assert found[name]["variants"] == list(card.variants)
        assert found[name]["licence"] == card.licence
        assert found[name]["differentiable"] == card.differentiable
        assert found[name]["parity"] == card.parity
    assert found["pickscore"]["here"] is True
    assert found["laion-aesthetic-v2"]["here"] is True
    assert found["hpsv2.1"]["here"] == {"today": True, "2023": True}
    assert found["hpsv2"]["here"] == {"today": False, "2023": False}
    assert found["clipscore"]["here"] == {"torchmetrics": False, "hessel": True, "dpo-vith": False}
    assert found["world-reward"]["here"] is None
    monkeypatch.setenv("DIFFPREF_WEIGHTS", weights)
    assert main(["scorers"]) == 0
    lines = {line.split("  ")[0]: line for line in capsys.readouterr().out.splitlines()}
    assert lines["pickscore"].split()[2] == "yes"
    assert lines["clipscore"].split()[2] == "hessel"
    assert lines["clipscore"].endswith("  torchmetrics, hessel, dpo-vith")
    assert lines["skywork-reward"].endswith(" and 7 more")
    assert {"profile:FILE", "head:FOLDER"} <= {*lines}
    assert max(map(len, lines.values())) <= 250
    assert lines["world-reward"].split()[2] == "-"


def test_where_says_what_a_person_needs_to_get(
    weights: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["scorers", "where", "laion-aesthetic-v2", "--weights-dir", weights]) == 0
    said = capsys.readouterr().out
    for word in (
        "sac+logos+ava1-l14-linearMSE.pth",
        "openai/clip-vit-large-patch14",
        "427,616,513 numbers",
        "about 1.7 GB",
        "Apache-2.0",
        "DIR/laion-aesthetic-v2/backbone/",
        str(Path(weights) / "laion-aesthetic-v2" / "head" / "predictor.pth"),
        "$DIFFPREF_WEIGHTS (not set)",
    ):
        assert word in said
    assert main(["scorers", "where", "clipscore", "--json"]) == 0
    parts = told(capsys)["parts"]
    assert isinstance(parts, list)
    assert [part["variant"] for part in parts] == ["torchmetrics", "hessel", "dpo-vith"]
    assert all(part["here"] is None for part in parts)
    assert main(["scorers", "where", "world-oracle"]) == 0
    assert "needs no weights" in capsys.readouterr().out
    assert main(["scorers", "where", "pickscor"]) == 2
    assert "did you mean 'pickscore'" in capsys.readouterr().err
    assert main(["scorers", "where", "clipscore:hassel"]) == 2
    assert "did you mean 'hessel'" in capsys.readouterr().err


def test_check_shows_what_is_found_and_scores_a_picture(
    weights: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["scorers", "check", "laion-aesthetic-v2", "--weights-dir", weights, "--json"]
    assert main([*words, "--any-size"]) == 0
    found = told(capsys)
    assert found["usable"] is True
    head, backbone = found["parts"]  # pyright: ignore[reportGeneralTypeIssues]
    assert head["dtypes"] == {"float32": 10}
    assert head["numbers"] == 32 * 24 + 24 + 24 * 12 + 12 + 12 * 8 + 8 + 8 * 6 + 6 + 6 + 1
    assert head["published"] == 927_969
    assert backbone["numbers"] == sum(p.numel() for p in clip_net().parameters())
    (digest,) = backbone["files"].values()
    assert {"affine-head", "transformers"} == {each["layout"] for each in found["weights"]}  # pyright: ignore[reportGeneralTypeIssues]
    assert digest in {each["sha256"] for each in found["weights"]}  # pyright: ignore[reportGeneralTypeIssues]
    assert len(found["trial"]["scores"]) == 2  # pyright: ignore[reportIndexIssue, reportArgumentType]
    assert main(["scorers", "check", "world-reward"]) == 0
    said = capsys.readouterr().out
    assert "usable     yes" in said
    assert "none missing, none unexpected" in said


def test_scorers_of_text_are_listed_and_checked_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_classifier(tmp_path / "skywork-reward" / "v2-qwen3-0.6b")
    write_gpm(tmp_path / "gpm")
    here = ["--weights-dir", str(tmp_path)]
    assert main(["scorers", "list", "--json", *here]) == 0
    found = {each["name"]: each for each in json.loads(capsys.readouterr().out)}
    assert {*TEXT_SCORERS} <= {*found}
    assert found["skywork-reward"]["judges"] == "text"
    assert found["pickscore"]["judges"] == "images"
    assert found["skywork-reward"]["here"]["v2-qwen3-0.6b"] is True
    assert found["skywork-reward"]["here"]["v2-qwen3-8b"] is False
    for name in ("skywork-reward", "gpm"):
        assert main(["scorers", "check", name, *here, "--json"]) == 4
        assert "or --any-size" in capsys.readouterr().err
        assert main(["scorers", "check", name, *here, "--any-size", "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        assert told["usable"] is True
        assert told["parts"][0]["numbers"] > 1000
        assert told["parts"][0]["published"] > 5e8
        assert told["trial"]["prompt"] == "Name three colours."
    assert sum(told["trial"]["scores"]) == pytest.approx(1)  # gpm gives probabilities
    assert main(["scorers", "check", "gpm", *here, "--golden", "x.json"]) == 2
    assert "golden files are of images" in capsys.readouterr().err
    assert main(["scorers", "check", "fsfairx", *here]) == 4
    assert main(["scorers", "where", "skywork-reward"]) == 0
    assert "Skywork/Skywork-Reward-V2-Qwen3-0.6B" in capsys.readouterr().out


def test_check_fails_for_every_reason_and_names_it(
    weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = dict(torch.load(Path(weights) / "hpsv2.1" / "x.pt"))["state_dict"]
    partial = {name: value for name, value in state.items() if "visual.proj" not in name}
    torch.save(partial, tmp_path / "partial.pt")
    torch.save(state, tmp_path / "whole.pt")
    whole = (tmp_path / "whole.pt").read_bytes()
    (tmp_path / "short.pt").write_bytes(whole[: len(whole) // 2])
    for words, code, message in (
        (["hpsv2"], 4, "are not on this machine"),
        (["hpsv2.1", "--weights-dir", weights], 4, "the published ones 986,109,441"),
        (
            ["hpsv2.1", "--weights", f"hpsv2.1={tmp_path / 'partial.pt'}"],
            4,
            "1 missing: visual_proj",
        ),
        (["hpsv2.1", "--weights", f"hpsv2.1={tmp_path / 'short.pt'}"], 6, "short.pt"),
        (["hpsv2.1", "--weights", f"hpsv2.1={tmp_path / 'no.pt'}"], 2, "there is no file"),
        (["hpsv2.1", "--weights", f"pickscore={tmp_path / 'whole.pt'}"], 2, "is not SCORER=PATH"),
        (["nobody"], 2, "is not a scorer"),
    ):
        assert main(["scorers", "check", *words, "--json"]) == code, words
        out, err = capsys.readouterr()
        assert message in err, words
        found = json.loads(out)
        assert found["usable"] is False
        assert message in found["problem"]
    own = ["--weights", f"hpsv2.1.model={tmp_path / 'whole.pt'}", "--any-size"]
    assert main(["scorers", "check", "hpsv2.1", *own]) == 0


def test_capture_and_check_are_one_round(
    weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    golden = str(tmp_path / "golden.json")
    tiny = ["--weights-dir", weights, "--any-size"]
    assert main(["scorers", "capture", "hpsv2.1:2023", *tiny, "--out", golden]) == 0
    assert "9 scores of hpsv2.1:2023" in capsys.readouterr().out
    recorded = json.loads(Path(golden).read_text())
    assert recorded["versions"]["torch"] == version("torch")
    assert (recorded["variant"], recorded["tolerance"]) == ("2023", 5e-4)
    assert str(tmp_path.parent) not in Path(golden).read_text()
    words = ["scorers", "check", "hpsv2.1:2023", *tiny, "--golden", golden]
    assert main(words) == 0
    assert "9 equal" in capsys.readouterr().out
    recorded["rows"][2]["score"] += 0.01
    Path(golden).write_text(json.dumps(recorded))
    assert main(words) == 4
    assert "1 of 9 differ" in capsys.readouterr().err
    assert main(["scorers", "capture", "hpsv2.1", *tiny, "--out", golden]) == 2
    assert "exists already" in capsys.readouterr().err


def test_a_pickled_network_is_converted_and_then_loads(
    weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = dict(torch.load(Path(weights) / "hpsv2.1" / "x.pt"))["state_dict"]
    net = torch.nn.Module()
    for name, value in state.items():
        place = net
        *path, last = name.split(".")
        for part in path:
            if part not in place._modules:
                place.add_module(part, torch.nn.Module())
            place = place.get_submodule(part)
        place.register_parameter(last, torch.nn.Parameter(value.float()))
    torch.save(net, tmp_path / "net.pth")
    own = ["scorers", "check", "hpsv2.1", "--any-size", "--weights"]
    assert main([*own, f"hpsv2.1={tmp_path / 'net.pth'}"]) == 6
    assert "diffpref scorers convert" in capsys.readouterr().err
    out = tmp_path / "made" / "net.safetensors"
    assert main(["scorers", "convert", str(tmp_path / "net.pth"), "--out", str(out)]) == 0
    said = capsys.readouterr()
    assert f"{len(state)} tensors" in said.out
    assert "torch.nn.modules.module.Module" in said.err
    assert torch.equal(load_weights(out)["visual.proj"], state["visual.proj"].float())
    assert main([*own, f"hpsv2.1={out}"]) == 0
    capsys.readouterr()
    words = ["scorers", "convert", str(tmp_path / "net.pth"), "--json", "--out"]
    assert main([*words, str(out)]) == 2
    assert main([*words, str(tmp_path / "net.pt")]) == 2
    assert "must end in .safetensors" in capsys.readouterr().err
    assert main([*words, str(out), "--force"]) == 0
    assert told(capsys)["tensors"] == len(state)
    assert os.listdir(out.parent) == ["net.safetensors"]


def test_what_a_described_scorer_needs_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    for name, needed in (
        ("vlm-judge", "needs an OpenAI-compatible address: set DIFFPREF_JUDGE_URL"),
        ("worldpm", "DIR/worldpm/endpoint.yaml"),
        ("ensemble", "ensemble:FILE, or DIR/ensemble/ensemble.yaml"),
        ("head", "needs a folder that `diffpref train-reward` wrote: head:FOLDER"),
        ("profile", "needs a file that `diffpref profile fit` wrote"),
        ("world-reward", "needs no weights: it is built in"),
    ):
        assert main(["scorers", "where", name]) == 0
        assert needed in capsys.readouterr().out
    assert main(["scorers", "where", "zzz"]) == 2
    assert "`diffpref scorers list` lists them all" in capsys.readouterr().err
