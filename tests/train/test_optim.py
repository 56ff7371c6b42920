"""Learning rates, optimizer state and averages against their definitions."""

import pytest
import torch
from torch import nn

from diffpref.errors import ConfigError
from diffpref.train.ema import start_ema
from diffpref.train.optim import load_optimizer, lr_factor, make_optimizer, optimizer_tensors

SETTINGS = {"lr": 0.1, "betas": (0.9, 0.99), "eps": 1e-8, "weight_decay": 0.01}


def parameters(seed: int = 0) -> dict[str, nn.Parameter]:
    rng = torch.Generator().manual_seed(seed)
    return {
        "a.weight": nn.Parameter(torch.randn(4, 3, generator=rng)),
        "b/odd.name": nn.Parameter(torch.randn(5, generator=rng)),
    }


def step(optimizer: torch.optim.Optimizer, named: dict[str, nn.Parameter], seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    for value in named.values():
        value.grad = torch.randn(value.shape, generator=rng)
    optimizer.step()


def test_the_warm_up_is_linear_and_ends_at_one() -> None:
    factor = lr_factor("constant", warmup=4, steps=10)
    assert [factor(n) for n in range(6)] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_linear_and_cosine_fall_to_zero_at_the_last_step() -> None:
    linear = lr_factor("linear", warmup=2, steps=12)
    assert linear(2) == 1.0
    assert linear(7) == pytest.approx(0.5)
    assert linear(12) == 0.0
    cosine = lr_factor("cosine", warmup=0, steps=10)
    assert cosine(0) == pytest.approx(1.0)
    assert cosine(5) == pytest.approx(0.5)
    assert cosine(10) == pytest.approx(0.0)


@pytest.mark.parametrize("name", ["adamw", "adafactor"])
def test_an_optimizer_restored_from_its_tensors_goes_on_bit_for_bit(name: str) -> None:
    mine = parameters()
    optimizer = make_optimizer(name, mine, **SETTINGS)
    for seed in range(3):
        step(optimizer, mine, seed)
    packed = {key: value.clone() for key, value in optimizer_tensors(optimizer, mine).items()}
    theirs = {key: nn.Parameter(value.detach().clone()) for key, value in mine.items()}
    other = make_optimizer(name, theirs, **SETTINGS)
    load_optimizer(other, theirs, packed)
    for seed in range(3, 6):
        step(optimizer, mine, seed)
        step(other, theirs, seed)
    assert all(torch.equal(mine[key], theirs[key]) for key in mine)


def test_adamw_is_decoupled_weight_decay_with_bias_correction() -> None:
    named = {"w": nn.Parameter(torch.tensor([2.0]))}
    optimizer = make_optimizer("adamw", named, **SETTINGS)
    named["w"].grad = torch.tensor([0.5])
    optimizer.step()
    # first step: m_hat = g, v_hat = g^2, so the update is lr * sign(g); decay is lr * wd * w
    assert float(named["w"].detach()) == pytest.approx(2.0 - 0.1 * 0.01 * 2.0 - 0.1, abs=1e-6)


def test_missing_bitsandbytes_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", None)
    with pytest.raises(ConfigError, match="diffpref\\[bnb\\]"):
        make_optimizer("adamw8bit", parameters(), **SETTINGS)


def test_an_average_is_the_geometric_sum_and_swaps_in_and_out() -> None:
    live = {"w": nn.Parameter(torch.tensor([0.0]))}
    ema = start_ema(live, decay=0.75)
    for value in (1.0, 2.0):
        live["w"].data.fill_(value)
        ema.update()
    assert float(ema.average["w"]) == pytest.approx(0.75 * 0.25 * 1 + 0.25 * 2)
    with ema.swapped():
        assert torch.equal(live["w"].data, ema.average["w"])
    assert float(live["w"].detach()) == 2.0
