"""Published numbers, for those who have the weights: `pytest -m weights --weights-dir DIR`.

The pictures are those of the folder named by DIFFPREF_TEST_DATA (ImageReward's are checked in
test_blip_scorers). For a scorer without a published number keep your own with
`diffpref scorers capture` and compare later runs with it.
"""

import os
from pathlib import Path

import pytest

from diffpref.rewards import load_scorer

DEMO = Path(os.environ.get("DIFFPREF_TEST_DATA", "")) / "hpsv2_demo_image.jpg"

pytestmark = [
    pytest.mark.weights,
    pytest.mark.skipif(not DEMO.is_file(), reason="DIFFPREF_TEST_DATA does not name the pictures"),
]


@pytest.mark.parametrize(
    ("name", "prompt", "expected", "within"),
    [
        # issues 27 and 30 of tgxs002/HPSv2; the first in half precision, the second to 3 digits
        ("hpsv2", "A cat with two horns on its head", 0.2876, 5e-4),
        ("hpsv2.1", "cat with horn", 0.288, 1e-3),
    ],
)
def test_one_of_the_two_hps_regimes_gives_the_published_score(
    published_dir: Path, name: str, prompt: str, expected: float, within: float
) -> None:
    found = {
        variant: float(
            load_scorer(f"{name}:{variant}", weights_dir=published_dir).score(DEMO, prompt).values
        )
        for variant in ("today", "2023")
    }
    # Which regime the reporters were in is unknown; if this fails, say which is nearer.
    assert min(abs(value - expected) for value in found.values()) < within, found
