"""The curves that docs/reproduce.md promises are those of the objectives."""

import re

import pytest

from diffpref.assets import find_config
from diffpref.config import load_config
from tests.docs.blocks import PAGES
from tests.methods.conftest import STARTS

PAGE = (PAGES / "reproduce.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| ((?:`\w+`(?:, )?)+) \| ([\d.]+) \|", re.M)
PROMISED = {
    name: float(start) for names, start in ROW.findall(PAGE) for name in re.findall(r"\w+", names)
}


@pytest.mark.parametrize("preset", sorted(PROMISED))
def test_the_first_loss_of_a_recipe_is_that_of_its_objective(preset: str) -> None:
    method = load_config(find_config(f"shapes/{preset}")).method.name
    assert PROMISED[preset] == pytest.approx(STARTS[method], abs=5e-5)


def test_most_recipes_promise_a_first_loss() -> None:
    assert len(PROMISED) >= 9


@pytest.mark.parametrize("preset", sorted(set(re.findall(r"`((?:sd15|sdxl)/\w+)", PAGE))))
def test_every_recipe_names_a_preset(preset: str) -> None:
    assert find_config(preset)
