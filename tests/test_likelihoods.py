"""The latent likelihood: -1/2 the mean squared error, per row, never in half precision."""

import pytest
import torch

from diffpref.likelihoods import latent_loglik, latent_residual
from diffpref.numerics import residual_loglik
from diffpref.types import Conditioning, Noised


def _point(dtype: torch.dtype = torch.float64) -> Noised:
    rng = torch.Generator().manual_seed(0)
    x, noise = torch.randn(2, 3, 2, 4, 4, generator=rng, dtype=torch.float64).to(dtype)
    return Noised(
        x_t=x,
        t=torch.tensor([1, 2, 3]),
        noise=noise,
        cond=Conditioning(text=torch.zeros(3, 1, 1)),
        score=torch.tensor([[1.0, 0.0, 0.0]]),
    )


def _echo(x_t: torch.Tensor, t: torch.Tensor, cond: Conditioning, /) -> torch.Tensor:
    del t, cond
    return x_t


def test_it_is_minus_half_the_mean_squared_error_of_each_row() -> None:
    point = _point()
    expected = []
    for row in range(3):
        squares = [
            (float(a) - float(b)) ** 2
            for a, b in zip(point.x_t[row].flatten(), point.noise[row].flatten(), strict=True)
        ]
        expected.append(-0.5 * sum(squares) / len(squares))
    assert latent_loglik(_echo, point).tolist() == pytest.approx(expected, rel=1e-14)


def test_the_network_is_told_its_own_row_of_everything() -> None:
    point = _point()
    seen: list[torch.Tensor] = []

    def spy(x_t: torch.Tensor, t: torch.Tensor, cond: Conditioning, /) -> torch.Tensor:
        seen.extend([x_t, t, cond.text])
        return x_t

    latent_loglik(spy, point.rows(slice(1, 2)))
    assert torch.equal(seen[0], point.x_t[1:2])
    assert seen[1].tolist() == [2]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_predictions_are_widened_before_subtraction(dtype: torch.dtype) -> None:
    point = _point(dtype)
    measured = latent_loglik(_echo, point)
    assert measured.dtype == torch.float32
    exact = -0.5 * (point.x_t.double() - point.noise.double()).square().mean(dim=(1, 2, 3))
    assert torch.allclose(measured.double(), exact, rtol=1e-6)
    rounded = -0.5 * (point.x_t - point.noise).square().mean(dim=(1, 2, 3))
    assert not torch.allclose(rounded.double(), exact, rtol=1e-6)


def test_the_residual_determines_the_likelihood() -> None:
    point = _point()
    residual = latent_residual(_echo, point)
    assert residual.shape == point.x_t.shape
    assert torch.equal(residual_loglik(residual), latent_loglik(_echo, point))


def test_a_wide_prediction_stays_wide() -> None:
    assert latent_loglik(_echo, _point(torch.float64)).dtype == torch.float64
