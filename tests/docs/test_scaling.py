"""The figures of the page on scaling, against counts and numbers from elsewhere."""

import pytest

from scripts.pages.counts import FAMILIES, counted
from scripts.pages.scaling import MODELS, page, per_pair, seconds


def test_work_and_time_are_those_worked_out_independently() -> None:
    """PERFORMANCE.md, 1.2 and 6.5: by hand, from another count of the same networks."""
    sd15, sdxl = MODELS["SD1.5"], MODELS["SDXL"]
    assert per_pair("diffusion_dpo", sdxl) / 1e12 == pytest.approx(54.8, abs=0.05)
    assert per_pair("diffusion_dpo", sd15) / 1e12 == pytest.approx(6.55, abs=0.01)
    assert per_pair("mapo", sdxl) / 1e12 == pytest.approx(41.2, abs=0.05)
    assert seconds(1e6 * per_pair("diffusion_dpo", sdxl)) / 60 == pytest.approx(36, abs=0.5)
    assert seconds(1.03e6 * sdxl.encode, 0.3) / 60 == pytest.approx(5.5, abs=0.1)
    assert "| 1 M | text, fp16: P q 2 e | 6.98 GB | 18.8 GB |" in page()


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_what_is_counted_of_a_model_is_still_so(name: str) -> None:
    assert counted(FAMILIES[name]) == MODELS[name]
