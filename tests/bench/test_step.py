"""The yardsticks of the training benchmark give our loss and our gradient."""

import pytest

from scripts.bench.sides import make
from scripts.bench.step import agree


@pytest.mark.parametrize("adapter", ["full", "lora"])
def test_a_released_step_and_ours_have_one_loss_and_one_gradient(adapter: str) -> None:
    found = agree(make("tiny", adapter, 32, 3))
    assert abs(found["ours"] - 0.6931) > 1e-4  # not the loss of equal networks
    assert found["gradient_distance"] < 1e-3
