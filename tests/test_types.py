"""Rows, repeats and shapes of the shared vocabulary."""

import pytest
import torch

from diffpref.types import Conditioning, Noised, Objective, Point


def _cond(n: int) -> Conditioning:
    rows = torch.arange(n, dtype=torch.float32)
    return Conditioning(
        text=rows[:, None, None].expand(n, 2, 3),
        pooled=rows[:, None].expand(n, 4),
        time_ids=rows[:, None].expand(n, 6),
    )


def _noised() -> Noised:
    x = torch.arange(6.0)[:, None, None, None].expand(6, 1, 2, 2)
    return Noised(
        x_t=x,
        t=torch.arange(6),
        noise=-x,
        cond=_cond(6),
        score=torch.tensor([[1.0, 0.0]] * 3),
        weight=torch.tensor([1.0, 2.0, 3.0]),
    )


def test_repeated_rows_are_prompt_major() -> None:
    repeated = _cond(2).repeat_rows(3)
    assert len(repeated) == 6
    assert repeated.text[:, 0, 0].tolist() == [0, 0, 0, 1, 1, 1]
    assert repeated.pooled is not None
    assert repeated.pooled[:, 0].tolist() == [0, 0, 0, 1, 1, 1]
    assert repeated.user is None


def test_rows_of_a_point_are_sliced_together_and_scores_stay_whole() -> None:
    part = _noised().rows(slice(2, 5))
    assert len(part) == 3
    assert part.x_t[:, 0, 0, 0].tolist() == [2, 3, 4]
    assert part.noise[:, 0, 0, 0].tolist() == [-2, -3, -4]
    assert part.t.tolist() == [2, 3, 4]
    assert part.cond.text[:, 0, 0].tolist() == [2, 3, 4]
    assert part.score.shape == (3, 2)
    assert part.weight is not None
    assert len(part.weight) == 3


def test_slices_of_a_point_put_together_are_the_point() -> None:
    whole = _noised()
    parts = [whole.rows(slice(start, start + 4)) for start in (0, 4)]
    assert torch.equal(torch.cat([part.x_t for part in parts]), whole.x_t)
    assert torch.equal(torch.cat([part.cond.text for part in parts]), whole.cond.text)


def test_gathering_collects_what_compare_reads_and_forbids_reading_the_rest() -> None:
    whole = _noised().gathered(lambda tensor: torch.cat([tensor, tensor]))
    assert whole.score.shape == (6, 2)
    assert whole.t.tolist() == [*range(6), *range(6)]
    assert whole.weight is not None
    assert whole.weight.tolist() == [1, 2, 3, 1, 2, 3]
    assert len(whole) == 12
    with pytest.raises((RuntimeError, NotImplementedError)):
        whole.x_t.tolist()


def test_a_noised_point_is_a_point() -> None:
    assert isinstance(_noised(), Point)
    assert not isinstance(_noised(), Objective)


def test_latents_of_the_wrong_rank_are_refused() -> None:
    with pytest.raises(Exception, match="x_t"):
        Noised(
            x_t=torch.zeros(2, 4),
            t=torch.zeros(2, dtype=torch.int64),
            noise=torch.zeros(2, 1, 2, 2),
            cond=_cond(2),
            score=torch.zeros(1, 2),
        )
