"""Weights of 16 bits: what an update changes below their last bit is not lost."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from diffpref.train.optim import Updates, load_optimizer, make_updates, optimizer_tensors
from diffpref.train.precision import PRECISIONS

SETTINGS = {"lr": 2e-5, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0}
STEPS = 200
BF16 = torch.bfloat16


def weights(dtype: torch.dtype) -> dict[str, nn.Parameter]:
    """Weights as a UNet has them: of standard deviation 0.02, numbers bfloat16 has."""
    rng = torch.Generator().manual_seed(0)
    shapes = {"conv": (6, 4, 3, 3), "linear": (16, 8), "bias": (16,)}
    return {
        name: nn.Parameter((0.02 * torch.randn(shape, generator=rng)).to(BF16).to(dtype))
        for name, shape in shapes.items()
    }


def pull(named: dict[str, nn.Parameter], updates: Updates, steps: int = STEPS) -> None:
    """Pull every weight by a gradient that does not depend on it."""
    rng = torch.Generator().manual_seed(1)
    aim = {name: torch.randn(weight.shape, generator=rng) for name, weight in named.items()}
    for _ in range(steps):
        for name, weight in named.items():
            weight.grad = aim[name].to(weight.dtype)
        updates.step()


def trained(precision: str, **changes: Any) -> dict[str, nn.Parameter]:
    named = weights(BF16 if PRECISIONS[precision].narrow else torch.float32)
    pull(named, make_updates("adamw", named, {**SETTINGS, **changes}, precision=precision))
    return named


def moved(named: dict[str, nn.Parameter]) -> Tensor:
    start = weights(torch.float32)
    return torch.cat([(named[key].float() - start[key]).flatten() for key in start]).detach()


def test_plain_rounding_loses_most_of_an_update_and_these_do_not() -> None:
    plain = weights(BF16)
    pull(plain, torch.optim.AdamW(plain.values(), **SETTINGS))  # pyright: ignore[reportArgumentType]
    exact = moved(trained("fp32"))
    assert exact.abs().mean() == pytest.approx(STEPS * 2e-5, rel=0.02)

    def share(named: dict[str, nn.Parameter]) -> float:
        return float((moved(named) * exact.sign()).sum() / exact.abs().sum())

    assert share(plain) < 0.75
    for precision in ("stochastic", "kahan", "split"):
        assert share(trained(precision)) == pytest.approx(1.0, abs=0.01)


def test_split_weights_are_float32_weights_in_two_halves() -> None:
    exact, named = weights(torch.float32), weights(BF16)
    makes = {"settings": SETTINGS, "seed": 0}
    plain = make_updates("adamw", exact, **makes)
    split = make_updates("adamw", named, precision="split", **makes)
    for updates, given in ((plain, exact), (split, named)):
        rng = torch.Generator().manual_seed(1)
        for _ in range(STEPS):
            for weight in given.values():
                weight.grad = torch.randn(weight.shape, generator=rng).to(BF16).to(weight.dtype)
            updates.step()
    packed = optimizer_tensors(split, named)
    for name, weight in exact.items():
        beside = {"remainder": packed[f"{name}/remainder"]}
        assert torch.equal(PRECISIONS["split"].wide(named[name], beside), weight)
        half_ulp = 2.0**-8 * weight.abs()
        assert bool(((named[name].float() - weight).abs() <= half_ulp).all()), "the nearest"


def test_compensated_weights_follow_float32_to_16_bits() -> None:
    exact, named = trained("fp32"), weights(BF16)
    updates = make_updates("adamw", named, SETTINGS, precision="kahan")
    pull(named, updates)
    packed = optimizer_tensors(updates, named)
    for name, weight in exact.items():
        beside = {"compensation": packed[f"{name}/compensation"]}
        wide = PRECISIONS["kahan"].wide(named[name], beside)
        # each of the steps may lose half of the last of 16 bits
        assert torch.allclose(wide, weight, rtol=0, atol=STEPS * 0.1 * 2.0**-17)


def test_rounding_at_random_is_right_on_average_and_only_goes_to_neighbours() -> None:
    wide = torch.tensor([0.0203456, -1.3e-3, 3.14159, 1.0, -7.7e-9, 0.0]).repeat(20_000, 1)
    weight, kept = torch.empty_like(wide, dtype=BF16), PRECISIONS["stochastic"]
    beside = kept.start(weight)
    kept.keep(wide, weight, beside, (3, "w"))
    mean, value = weight.double().mean(dim=0), wide[0].double()
    ulp = 2.0 ** (value.abs().clamp(min=1e-30).log2().floor() - 7)
    assert bool(((mean - value).abs() <= 5 * 0.5 * ulp / 20_000**0.5).all())
    assert bool(((weight.double() - value).abs() < ulp).all())
    assert [len(column.unique()) for column in weight.T] == [2, 2, 2, 1, 2, 1]
    again = torch.empty_like(weight)
    kept.keep(wide, again, kept.start(weight), (3, "w"))
    assert torch.equal(weight, again), "bits are a function of seed, step and name"
    kept.keep(wide, again, beside, (3, "w"))
    assert not torch.equal(weight, again), "and other in the next step"


@pytest.mark.parametrize("precision", ["stochastic", "kahan", "split"])
def test_what_is_not_a_number_stays_so(precision: str) -> None:
    wide = torch.tensor([float("inf"), -float("inf"), float("nan"), 1.0])
    weight, kept = torch.empty(4, dtype=BF16), PRECISIONS[precision]
    kept.keep(wide, weight, kept.start(weight), (0, "w"))
    assert weight[:2].tolist() == wide[:2].tolist()
    assert bool(weight[2].isnan())
    assert float(weight[3]) == 1.0


@pytest.mark.parametrize("name", ["adamw", "adafactor", "adafactor_flat"])
@pytest.mark.parametrize("precision", ["fp32", "stochastic", "kahan", "split"])
def test_a_run_in_pieces_goes_on_bit_for_bit(name: str, precision: str) -> None:
    dtype = BF16 if PRECISIONS[precision].narrow else torch.float32
    named = weights(dtype)
    updates = make_updates(name, named, SETTINGS, precision=precision, seed=5)
    pull(named, updates, 3)
    packed = {key: value.clone() for key, value in optimizer_tensors(updates, named).items()}
    theirs = {key: nn.Parameter(value.detach().clone()) for key, value in named.items()}
    other = make_updates(name, theirs, SETTINGS, precision=precision, seed=5)
    load_optimizer(other, theirs, packed)
    pull(named, updates, 3)
    pull(theirs, other, 3)
    assert all(torch.equal(named[key], theirs[key]) for key in named)
    after, mine = optimizer_tensors(other, theirs), optimizer_tensors(updates, named)
    assert after.keys() == mine.keys()
    assert all(torch.equal(after[key], mine[key]) for key in mine)


def test_gradients_of_16_bit_weights_add_up_in_float32_when_asked() -> None:
    weight = nn.Parameter(torch.zeros(4, dtype=BF16))
    weight.grad_dtype = torch.float32
    x = torch.full((4,), 1.0, dtype=BF16)
    for number in range(300):
        torch.autograd.backward((weight * x * (1.0 if number else 256.0)).sum())
    assert weight.grad is not None
    assert weight.grad.dtype == torch.float32
    assert weight.grad.tolist() == [256.0 + 299.0] * 4, "bfloat16 stays at 256: 1 is half its ulp"
