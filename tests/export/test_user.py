"""A user adapter leaves with what it needs to be told about people, and with nobody in it."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file

from diffpref.cli import main
from diffpref.data.user_encoders import FILE as ENCODER
from diffpref.evaluate.subject import open_model
from diffpref.models.user_files import FILE
from diffpref.run.execute import execute
from diffpref.users import find_prior, null_profile
from diffpref.users.profile_file import save_profile
from tests.export.conftest import CANARIES, canaries
from tests.run.conftest import changed


@pytest.fixture(scope="session")
def personal(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("canary-folder-users")
    data = canaries(folder / "data")
    tree: dict[str, Any] = {
        "model": {"base": str(base), "dtype": "fp32", "device": "cpu"},
        "method": {"name": "ppd", "beta": 2000},
        "adapter": {"kind": "user"},
        "reference": {"kind": "gate_off"},
        "users": {"width": 3, "support": (1, 2), "held_out": None},
        "data": {"source": str(data), "cache": str(folder / "cache"), "resolution": 64},
        "loop": {"steps": 1},
        "optimizer": {"lr": 1e-2},
    }
    return execute(changed(tree, {}), folder / "run")


def test_a_user_adapter_is_written_with_its_encoder_and_read_back(
    personal: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_profile(tmp_path / "ann.safetensors", null_profile(find_prior("bt-world")))
    out = tmp_path / "out"
    words = [str(personal), str(out), "--profile", str(tmp_path / "ann.safetensors"), "--json"]
    assert main(["export", *words]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["form"], told["difference"]) == ("user", 0.0)
    assert set(told["files"]) == {
        "README.md",
        "diffpref_export.json",
        "profile.safetensors",
        ENCODER,
        FILE,
    }
    ours, theirs = load_file(personal / FILE), load_file(out / FILE)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    opened = open_model(str(personal)).bundle
    assert opened.fingerprint.encode() in (out / FILE).read_bytes()
    for path in out.iterdir():
        data = path.read_bytes()
        assert [word for word in (*CANARIES, str(tmp_path)) if word.encode() in data] == []


def test_the_cards_own_lines_load_it_into_stock_diffusers(
    personal: Path, base: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert main(["export", str(personal), str(out), "--no-check"]) == 0
    code = (out / "README.md").read_text().split("```python\n")[1].split("```")[0]
    lines = code.replace(f"PATH OF {base.name}", str(base)).replace("FOLDER", str(out))
    kept = [line for line in lines.splitlines() if not line.startswith(("e = ", "pipe(", "told"))]
    names: dict[str, Any] = {}
    exec("\n".join(kept), names)
    pipe: DiffusionPipeline = names["pipe"]
    e = torch.full((1, 3), 0.5)
    images = [
        pipe(
            "a thing",
            num_inference_steps=1,
            output_type="pt",
            generator=torch.Generator().manual_seed(0),
            ip_adapter_image_embeds=[torch.stack([scale * e, scale * e])[:, None]],
        ).images
        for scale in (1.0, -1.0)
    ]
    assert images[0].shape == images[1].shape
    assert pipe.unet.config.encoder_hid_dim_type == "ip_image_proj"


def test_what_is_no_profile_and_forms_without_a_place_for_users_are_refused(
    personal: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["export", str(personal), str(out), "--as", "pipeline"]) == 2
    assert "the run trained a user adapter\n  write --as user" in capsys.readouterr().err
    assert main(["export", str(personal), str(out), "--profile", str(personal / FILE)]) == 4
    assert "is no profile" in capsys.readouterr().err
    assert not out.exists()
