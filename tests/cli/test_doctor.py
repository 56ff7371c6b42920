"""`diffpref doctor`."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from diffpref.cli import diagnosis, machine, main

REPORT_KEYS = [
    "diffpref",
    "python",
    "platform",
    "packages",
    "machine",
    "attention",
    "hub",
    "disk_free_gib",
    "bundled",
    "missing",
]


def report(capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, dict[str, Any]]:
    code = main(["doctor", "--json", *options])
    return code, json.loads(capsys.readouterr().out)


def bundle(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    monkeypatch.setattr("diffpref.assets.builtins", lambda: {name: Path(name) for name in names})


def test_the_json_report_keeps_its_keys(capsys: pytest.CaptureFixture[str]) -> None:
    _, found = report(capsys)
    assert list(found) == REPORT_KEYS
    assert found["packages"]["torch"] == torch.__version__.split("+")[0]
    assert found["machine"]["cores"] >= 1
    assert found["attention"]["sdpa"] is True


def test_nothing_required_is_missing_when_all_assets_are_there(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle(monkeypatch, *diagnosis.BUNDLED)
    code, found = report(capsys)
    assert [each for each in found["missing"] if each["required"]] == []
    assert code == 0


def test_a_missing_asset_is_named_with_the_command_that_makes_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle(monkeypatch, "base", "pairs", "prompts")
    code, found = report(capsys)
    missing = [each for each in found["missing"] if each["required"]]
    assert [each["what"] for each in missing] == ["builtin:reward"]
    assert missing[0]["get"] == "python scripts/build_assets.py"
    assert code == 1


def test_a_missing_package_is_named_with_its_pip_command(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = diagnosis._version

    def version(name: str) -> str | None:
        return None if name in {"peft", "xformers"} else installed(name)

    monkeypatch.setattr(diagnosis, "_version", version)
    missing = {each["what"]: each for each in diagnosis.diagnose(gemm=False)["missing"]}
    assert missing["peft"]["get"] == "pip install peft"
    assert missing["peft"]["required"]
    assert missing["xformers"]["get"] == "pip install 'diffpref[xformers]'"
    assert not missing["xformers"]["required"]


def test_the_hub_state_and_its_downloaded_models_are_read_from_the_environment(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "hub" / "models--someone--a-model").mkdir(parents=True)
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    _, found = report(capsys)
    assert found["hub"] == {
        "offline": True,
        "cache": str(tmp_path / "hub"),
        "models": ["someone/a-model"],
    }
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    assert report(capsys)[1]["hub"]["offline"] is False


def test_the_gemm_speed_is_measured_only_on_request(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "gemm_gflops", lambda: 55.5)
    assert report(capsys)[1]["machine"]["gemm_gflops"] is None
    assert report(capsys, "--gemm")[1]["machine"]["gemm_gflops"] == 55.5


def test_the_gemm_speed_counts_two_operations_per_product_term(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ticks = iter([0.0, 0.5, 1.0, 1.25, 9.0])  # one product that takes a quarter of a second
    monkeypatch.setattr(machine.time, "perf_counter", lambda: next(ticks))
    assert machine.gemm_gflops(size=1000, seconds=1.0) == 8.0


def test_the_plain_report_says_what_to_do_about_each_missing_thing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle(monkeypatch, "base", "reward", "pairs", "prompts")
    versions = {"xformers": None}
    monkeypatch.setattr(diagnosis, "EXTRAS", {"xformers": ("xformers", "a test")})
    monkeypatch.setattr(diagnosis, "_version", lambda name: versions.get(name, "1.0"))
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "xformers (optional)  a test      pip install 'diffpref[xformers]'" in out
    assert "bundled      base, reward, pairs, prompts" in out


def test_a_gpu_is_described_with_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    class Properties:
        name, total_memory, major, minor = "Test GPU", 24 * 2**30, 8, 9

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: Properties)
    assert machine.accelerators() == [
        {"device": "cuda:0", "name": "Test GPU", "memory_gib": 24.0, "capability": "8.9"}
    ]
