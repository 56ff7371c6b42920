"""What a method costs is counted, and agrees with the counts worked out by hand."""

from math import ceil

import pytest

from diffpref.cost import cost

RUNGS = sum(ceil((10 * i + 1) / 100) for i in range(100)) / 100
"""Of an exact inversion with ten rungs, averaged over the same steps."""

EXPECTED = {
    "sft": (0, 2),
    "diffusion_dpo": (2, 2),
    "sdpo": (2, 2),
    "mapo": (0, 2),
    "diffusion_kto": (1, 1),
    "rank_dpo": (4, 4),
    "inpo": (2 * RUNGS + 2, 2),
    "smpo": (4 * RUNGS + 2, 2),
    "ncp_dpo": (2, 2),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_the_cost_is_counted(name: str) -> None:
    found = cost(name)
    without, graded = EXPECTED[name]
    assert found["without_gradient"] == pytest.approx(without, abs=0.01)
    assert found["with_gradient"] == graded
    assert found["forwards"] == pytest.approx(without + 3 * graded, abs=0.01)
