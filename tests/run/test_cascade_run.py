"""PPD on a tiny random Stable Cascade: trained, opened again, told to images; what it refuses."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from diffpref.cli import main
from diffpref.config import RunConfig
from diffpref.errors import ConfigError
from diffpref.evaluate.subject import open_model
from diffpref.models import user_adapter_of
from diffpref.models.cascade.effnet import FILE as EFFNET
from diffpref.models.cascade.stage_b import FOLDER as STAGE_B
from diffpref.models.sample import SampleSettings, sample
from diffpref.models.user_files import FILE
from diffpref.run.execute import execute
from diffpref.train.log import read_metrics
from tests.models.tiny_cascade import write_cascade
from tests.run.test_resume import final
from tests.run.test_users_run import voted

__all__ = ["voted"]

Make = Callable[..., RunConfig]
HOW = SampleSettings(steps=2, height=128, width=128, guidance=2.0)


@pytest.fixture(scope="module")
def cascade(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cascade(tmp_path_factory.mktemp("cascade") / "tiny")


@pytest.fixture
def make_cascade(make_config: Make, voted: Path, cascade: Path) -> Make:
    def make(**changes: Any) -> RunConfig:
        plain: dict[str, Any] = {
            "model__base": str(cascade),
            "method": {"name": "ppd", "beta": 2000},
            "adapter": {"kind": "user"},
            "reference": {"kind": "gate_off"},
            "users": {"width": 3, "support": (1, 2), "held_out": "train", "held_out_rows": 4},
            "data__source": str(voted),
            "data__resolution": 256,
            "loop__steps": 2,
            "evaluate": {"every": 2},
        }
        return make_config(**{**plain, **changes})

    return make


def test_it_trains_and_images_are_somebodys(make_cascade: Make, tmp_path: Path) -> None:
    folder = execute(make_cascade(), tmp_path / "run")
    lines = read_metrics(folder / "metrics.jsonl")
    assert lines[0]["loss"] == pytest.approx(0.6931, abs=1e-3)
    measured = next(line for line in lines if "implicit/own" in line)
    assert measured["implicit/null"] == 0.5
    assert measured["implicit_margin/null"] == 0.0
    assert measured["implicit_margin/own"] != 0
    kept = final(folder)
    assert any(bool(v.any()) for name, v in kept.items() if "to_v_ip" in name)
    assert (folder / FILE).is_file()
    opened = open_model(str(folder)).bundle
    assert user_adapter_of(opened.unet) is not None
    base = sample(open_model(opened.source).bundle, ["a thing"], settings=HOW)
    assert base.shape == (1, 3, 128, 128)
    user = torch.ones(1, 3)
    assert torch.equal(sample(opened, ["a thing"], settings=HOW), base)
    silent = sample(opened, ["a thing"], settings=HOW, users=user, strength=0.0)
    assert torch.equal(silent, base)
    assert not torch.equal(sample(opened, ["a thing"], settings=HOW, users=user), base)
    again = execute(make_cascade(model__gradient_checkpointing=True), tmp_path / "again")
    theirs = final(again)
    assert all(torch.allclose(theirs[name], kept[name], atol=1e-6) for name in kept)


def test_generate_makes_a_picture_and_says_how(
    cascade: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["generate", "a red cube", "--model", str(cascade), "--steps", "2", "--device", "cpu"]
    size = ["--height", "128", "--width", "128"]
    assert main([*asked, *size, "--out", str(tmp_path / "one"), "--json"]) == 0
    (made,) = json.loads(capsys.readouterr().out)
    assert Path(made["file"]).is_file()
    for more, said in (
        (["--height", "200", "--width", "128"], "multiple of 128"),
        ([*size, "--sampler", "euler"], "stock pipelines"),
    ):
        assert main([*asked, *more, "--out", str(tmp_path / "no")]) == 2
        assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"adapter": {"kind": "lora"}, "reference": {"kind": "adapters_off"}}, "adapter.kind"),
        ({"adapter": {"kind": "full"}, "reference": {"kind": "frozen"}}, "adapter.kind"),
        ({"model__attention": "xformers"}, "model.attention"),
    ],
)
def test_what_stage_c_cannot_be_is_refused_by_name(
    changes: dict[str, Any], where: str, make_cascade: Make, tmp_path: Path
) -> None:
    if "adapter" in changes:
        changes = {**changes, "method": "diffusion_dpo", "users": None, "evaluate": None}
    with pytest.raises(ConfigError) as refused:
        execute(make_cascade(**changes), tmp_path / "run")
    assert where in str(refused.value)


def test_a_missing_part_is_named_when_it_is_needed(
    make_cascade: Make, cascade: Path, tmp_path: Path
) -> None:
    bare = Path(shutil.copytree(cascade, tmp_path / "bare"))
    shutil.rmtree(bare / STAGE_B)
    (bare / EFFNET).rename(tmp_path / EFFNET)
    with pytest.raises(ConfigError, match=EFFNET):
        execute(make_cascade(model__base=str(bare)), tmp_path / "run")
    bundle = open_model(str(bare)).bundle
    with pytest.raises(ConfigError, match=f"{STAGE_B}/"):
        sample(bundle, ["a thing"], settings=HOW)
    given = make_cascade(model__base=str(bare), model__vae=str(tmp_path / EFFNET), loop__steps=1)
    assert (execute(given, tmp_path / "given") / FILE).is_file()
