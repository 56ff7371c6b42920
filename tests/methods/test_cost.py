"""What a method costs is counted, and agrees with the counts worked out by hand."""

from math import ceil

import pytest

from diffpref.catalogue import build_objective
from diffpref.cost import PLAN, cost
from diffpref.sampling_cost import Counter, sampling_cost
from diffpref.schedule import scaled_linear
from diffpref.toolkit import Toolkit

RUNGS = sum(ceil((10 * i + 1) / 100) for i in range(100)) / 100
"""Of an exact inversion with ten rungs, averaged over the same steps."""

EXPECTED = {
    "sft": (0, 2),
    "diffusion_dpo": (2, 2),
    "sdpo": (2, 2),
    "ppd": (2, 2),
    "mapo": (0, 2),
    "diffusion_kto": (1, 1),
    "rank_dpo": (4, 4),
    "inpo": (2 * RUNGS + 2, 2),
    "smpo": (4 * RUNGS + 2, 2),
    "ncp_dpo": (2, 2),
    "tailorpo": (1, 1),
    "spo": (1, 1),
    "gradspo": (1, 1),
    "lpo": (1, 1),
    "d3po": (2, 2),
    "ddpo": (0, 1),
    "grpo": (1, 1),
    "nft": (8, 4),
    "refl": (19, 1),
    "draft": (19, 1),
}
"""Without and with gradient; of pairs of candidates or steps, lists of four, prompts."""

SAMPLING = {
    # One call opens, k follow each of 15 judged steps and one each of 4 plain ones.
    "tailorpo": ((1 + 4 + 2 * 15) / 15, 2),
    "spo": ((1 + 4 + 4 * 15) / 15, 4),
    # Noisy latents are judged as they are: 20 calls, 19 pairs.
    "lpo": (20 / 19, 4),
    # Two walks of 20 steps make 20 pairs and are judged once each.
    "d3po": (2, 2 / 20),
    "grpo": (1, 1 / 20),
}
"""Network images and reward calls per pair, in 20 steps without guidance."""


@pytest.mark.parametrize("name", EXPECTED)
def test_the_cost_is_counted(name: str) -> None:
    found = cost(name)
    without, graded = EXPECTED[name]
    assert found["without_gradient"] == pytest.approx(without, abs=0.01)
    assert found["with_gradient"] == graded
    assert found["forwards"] == pytest.approx(without + 3 * graded, abs=0.01)


@pytest.mark.parametrize("name", SAMPLING)
def test_the_cost_of_sampling_is_counted(name: str) -> None:
    network, rewards = SAMPLING[name]
    assert cost(name)["sampling"] == pytest.approx({"network": network, "rewards": rewards})


def test_the_winners_displacement_is_counted_with_its_backward_pass() -> None:
    """Each pair: two candidates, a pass forward and backward, and the moved winner anew."""
    kit = Toolkit(schedule=scaled_linear(), reward=Counter, plan=lambda: PLAN)
    objective = build_objective("tailorpo", kit, {"push": 0.1}, {})
    found = sampling_cost(objective, kit.schedule, PLAN)
    assert found == pytest.approx({"network": (1 + 4 + (2 + 3 + 1) * 15) / 15, "rewards": 3})


def test_methods_on_images_have_no_cost_of_sampling_of_their_own() -> None:
    assert cost("diffusion_dpo")["sampling"] is None
    assert cost("nft")["sampling"] is None
