"""`diffpref doctor --fit`: what a run holds, which card that is, and what to change."""

import json

import pytest

from diffpref.assets import find_config
from diffpref.cli import main
from diffpref.config import load_config
from diffpref.run.fit import CARDS, GIB, OVERHEAD, USABLE, Fit, fits
from diffpref.run.fit_changes import changes_of

LORA = "sd15/dpo_lora_8gb"


def own(preset: str, *changes: str) -> Fit:
    return next(fits(load_config(find_config(preset), changes)))


@pytest.mark.slow
def test_forms_are_smaller_the_more_is_computed_anew(capsys: pytest.CaptureFixture[str]) -> None:
    changes = ("adapter.kind=full", "reference.kind=frozen")
    assert main(["doctor", "--json", "--fit", "shapes/dpo", *changes]) == 0
    found = json.loads(capsys.readouterr().out)["forms"]
    assert len(found) == 1 + len(changes_of(load_config(find_config("shapes/dpo"), changes)))
    sizes = [form["gib"] for form in found[1:]]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > sizes[-1]
    for form in found:
        parts = ("weights", "gradients", "optimizer", "activations")
        total = sum(form[part] for part in parts) + OVERHEAD / GIB
        assert form["gib"] == pytest.approx(total, abs=0.03)
        assert form["card"] == min(card for card in CARDS if form["gib"] <= USABLE * card)


@pytest.mark.parametrize("gib", [8, 24])
def test_the_card_of_a_preset_is_in_its_name(gib: int) -> None:
    assert own(f"sd15/dpo_lora_{gib}gb").total <= USABLE * gib * GIB


@pytest.mark.slow
def test_a_frozen_reference_weighs_what_trains_unless_it_waits_in_main_memory() -> None:
    off, copy = own(LORA), own(LORA, "reference.kind=frozen")
    lora = 4 * 797_184 * 4  # of rank 16; rank 4 has a quarter
    assert copy.footprint.weights - off.footprint.weights == lora
    change = ("adapter.kind=full", "reference.kind=frozen", "model.gradient_checkpointing=true")
    beside, waits = own(LORA, *change), own(LORA, *change, "reference.offload=true")
    assert beside.footprint.weights - waits.footprint.weights == 859_520_964 * 4


def test_8_bits_are_offered_under_a_lora_alone() -> None:
    def offered(*changes: str) -> bool:
        found = changes_of(load_config(find_config(LORA), changes))
        return any("model.storage=int8" in change.what for change in found)

    assert offered()
    assert not offered("model.storage=int8")
    assert not offered("adapter.dora=true")
    assert not offered("adapter.kind=full", "reference.kind=frozen")


def test_mistakes_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "loop.steps=3"]) == 2
    assert "--fit CONFIG" in capsys.readouterr().err
    assert main(["doctor", "--fit", "sdxl/dop"]) == 3
    assert "did you mean 'sdxl/dpo'" in capsys.readouterr().err
    assert main(["doctor", "--fit", LORA, "model.base=nobody/nothing"]) != 0
    assert "nobody/nothing" in capsys.readouterr().err
