"""Published numbers, for those who have the weights: `pytest -m weights --weights-dir DIR`.

Pictures are in the folder named by DIFFPREF_TEST_DATA, texts in the README of the model's own
folder; `--weights-device cuda` computes on a GPU. What is not there is skipped with a reason (-rs).
For a scorer without a published number keep your own with `diffpref scorers capture`.
"""

import os
from pathlib import Path

import pytest

from diffpref.rewards.resolve import MissingWeightsError
from tests.rewards.examples import AbsentError
from tests.rewards.published import GOLDENS, Golden, Place, check


def attempt(golden: Golden, place: Place) -> None:
    """Check a golden; skip the test if its weights or what it scores are not here."""
    try:
        check(golden, place)
    except (AbsentError, MissingWeightsError) as error:
        pytest.skip(str(error).splitlines()[0])


@pytest.mark.weights
@pytest.mark.parametrize("golden", GOLDENS, ids=lambda golden: golden.id)
def test_published_weights_give_the_published_numbers(
    golden: Golden, published_dir: Path, request: pytest.FixtureRequest
) -> None:
    data = os.environ.get("DIFFPREF_TEST_DATA")
    device = str(request.config.getoption("--weights-device"))
    folder = None if data is None else Path(data)
    attempt(golden, Place(weights=published_dir, data=folder, device=device))
