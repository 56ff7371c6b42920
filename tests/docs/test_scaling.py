"""The figures of the page on scaling, against counts and numbers from elsewhere."""

import tracemalloc
from secrets import token_hex

import pytest

from diffpref.data.rows import row_of
from scripts.pages.counts import FAMILIES, counted
from scripts.pages.scaling import MODELS, ROW_BYTES, page, per_pair, seconds


def test_work_and_time_are_those_worked_out_independently() -> None:
    """PERFORMANCE.md, 1.2 and 6.5: by hand, from another count of the same networks."""
    sd15, sdxl = MODELS["SD1.5"], MODELS["SDXL"]
    assert per_pair("diffusion_dpo", sdxl) / 1e12 == pytest.approx(54.8, abs=0.05)
    assert per_pair("diffusion_dpo", sd15) / 1e12 == pytest.approx(6.55, abs=0.01)
    assert per_pair("mapo", sdxl) / 1e12 == pytest.approx(41.2, abs=0.05)
    assert seconds(1e6 * per_pair("diffusion_dpo", sdxl)) / 60 == pytest.approx(36, abs=0.5)
    assert seconds(1.03e6 * sdxl.encode, 0.3) / 60 == pytest.approx(5.5, abs=0.1)
    assert "| 1 M | text, fp16: P q 2 e | 6.98 GB | 18.8 GB |" in page()


def test_a_row_of_the_index_takes_what_the_page_says() -> None:
    number = 4000
    tracemalloc.start()
    try:
        start = tracemalloc.get_traced_memory()[0]
        names = [[f"{token_hex(16)}-1024x1024+0+0" for _ in range(2)] for _ in range(number)]
        rows = [
            row_of(
                {
                    "prompt": f"a prompt of the length that people write, {i // 17:08d}",
                    "images": each,
                    "scores": [1, 0],
                    "id": str(i),
                    "where": f"train-00001-of-00100.parquet:{i}",
                }
            )
            for i, each in enumerate(names)
        ]
        # what a shelf keeps of an image: its name again, and where it lies
        kept = {str(name.encode(), "ascii"): (None, (1024,) * 6) for each in names for name in each}
        used = tracemalloc.get_traced_memory()[0] - start
    finally:
        tracemalloc.stop()
    assert len(rows) == number == len(kept) / 2
    assert used / number == pytest.approx(ROW_BYTES, rel=0.25)


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_what_is_counted_of_a_model_is_still_so(name: str) -> None:
    assert counted(FAMILIES[name]) == MODELS[name]
