"""`diffpref bench flops` and what it counts."""

import json

import pytest

from diffpref.bench.flops import TERA, method_flops, pass_flops
from diffpref.cli import main
from diffpref.models import AdapterConfig
from diffpref.models.family import SD15, SDXL

# One image, TFLOP: PERFORMANCE.md, section 1.1, counted independently with diffusers 0.42.
TABLE = {
    (SD15.configs, "full", None): (0.803, 1.667),
    (SD15.configs, "full", 128): (0.046, 0.089),
    (SD15.configs, "lora", None): (0.806, 0.975),
    (SDXL.configs, "full", None): (6.761, 13.862),
}


@pytest.mark.parametrize(("base", "kind", "side"), TABLE)
def test_passes_cost_what_the_independent_count_says(
    base: str, kind: str, side: int | None
) -> None:
    found = pass_flops(base, AdapterConfig(kind=kind, rank=8), side)
    forward, backward = TABLE[base, kind, side]
    assert found.forward / TERA == pytest.approx(forward, abs=0.0006)
    assert found.backward / TERA == pytest.approx(backward, abs=0.0006)


def test_a_dpo_pair_is_four_forwards_and_two_backwards() -> None:
    found = pass_flops("builtin:base", AdapterConfig(kind="full"))
    (dpo,) = method_flops(found, ["diffusion_dpo"])
    assert dpo.flops == 4 * found.forward + 2 * found.backward
    (mapo,) = method_flops(found, ["mapo"])
    assert dpo.flops - mapo.flops == 2 * found.forward


def test_the_table_names_every_method(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "flops", "--model", "builtin:base", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    named = {each["name"]: each["flops"] for each in told["methods"]}
    assert named["smpo"] > named["inpo"] > named["diffusion_dpo"] > named["sft"] > 0
    assert main(["bench", "flops", "--model", "builtin:base", "difusion_dpo"]) != 0
    assert "diffusion_dpo" in capsys.readouterr().err
    assert main(["bench", "flops", "--adapter", "lorra"]) == 2
    assert "did you mean 'lora'" in capsys.readouterr().err
