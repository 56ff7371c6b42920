"""Updates in the backward pass are those of an ordinary step, and hold few gradients."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from diffpref.models.live import Live
from diffpref.train.eager import Eager, eager
from diffpref.train.optim import make_updates
from diffpref.train.pieces import in_pieces
from diffpref.train.precision import PRECISIONS

SETTINGS = {"lr": 1e-2, "betas": (0.9, 0.99), "eps": 1e-8, "weight_decay": 0.01}


def net(width: int = 8, depth: int = 3) -> nn.Sequential:
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Conv2d(2, width, 3, padding=1)]
    for _ in range(depth):
        layers += [nn.SiLU(), nn.Conv2d(width, width, 3, padding=1)]
    return nn.Sequential(*layers)


def named(module: nn.Module) -> dict[str, nn.Parameter]:
    return dict(module.named_parameters())


def backward(module: nn.Module, seed: int) -> Tensor:
    x = torch.randn(2, 2, 4, 4, generator=torch.Generator().manual_seed(seed))
    loss = module(x.to(next(module.parameters()).dtype)).float().square().mean()
    torch.autograd.backward(loss)
    return loss.detach()


@pytest.mark.parametrize("name", ["adamw", "adafactor", "adafactor_flat"])
@pytest.mark.parametrize("precision", ["fp32", "stochastic", "split"])
def test_steps_in_the_backward_pass_are_ordinary_steps(name: str, precision: str) -> None:
    dtype = torch.bfloat16 if PRECISIONS[precision].narrow else torch.float32
    plain, fused = net().to(dtype), net().to(dtype)
    how = {"settings": SETTINGS, "precision": precision}
    ordinary = make_updates(name, named(plain), **how)
    inside = make_updates(name, named(fused), in_backward=True, **how)
    assert isinstance(inside, Eager)
    for seed in range(4):
        backward(plain, seed)
        norm = torch.nn.utils.get_total_norm(
            [p.grad for p in plain.parameters() if p.grad is not None]
        )
        ordinary.step()
        ordinary.zero_grad()
        backward(fused, seed)
        assert all(weight.grad is None for weight in fused.parameters())
        assert float(inside.norm()) == pytest.approx(
            float(norm), rel=1e-2 if precision != "fp32" else 1e-5
        )
        inside.step()
        inside.zero_grad()
    for a, b in zip(plain.parameters(), fused.parameters(), strict=True):
        assert torch.equal(a, b)


def test_less_is_held_at_the_worst_moment() -> None:
    def peak(in_backward: bool) -> int:
        module = net(width=64, depth=6).to("meta")
        live = Live(module.parameters())
        held = live.now
        if in_backward:
            for weight in module.parameters():
                weight.register_post_accumulate_grad_hook(_let_go)
        with live:
            torch.autograd.backward(module(torch.empty(1, 2, 4, 4, device="meta")).sum())
        return live.peak - held

    numbers = sum(weight.numel() for weight in net(width=64, depth=6).parameters())
    assert peak(False) > 4 * numbers
    assert peak(True) < 0.5 * 4 * numbers


def _let_go(weight: Tensor) -> None:
    weight.grad = None


def test_a_gradient_that_is_not_finite_changes_no_weight() -> None:
    module = net()
    inside: Any = make_updates("adamw", named(module), SETTINGS, in_backward=True)
    backward(module, 0)
    inside.zero_grad()
    before = {name: value.detach().clone() for name, value in module.named_parameters()}
    torch.autograd.backward(module(torch.full((1, 2, 4, 4), float("nan"))).square().sum())
    assert not bool(inside.norm().isfinite())
    inside.zero_grad()
    assert all(torch.equal(value, before[name]) for name, value in module.named_parameters())
    backward(module, 1)
    assert bool(inside.norm().isfinite())
    assert not torch.equal(module[0].get_parameter("weight"), before["0.weight"])


def test_from_the_first_gradient_that_is_not_finite_on_no_weight_changes() -> None:
    """A gradient that overflows inside the backward pass, which a finite loss does not show."""
    module = net()
    inside: Any = make_updates("adamw", named(module), SETTINGS, in_backward=True)
    before = {name: value.detach().clone() for name, value in module.named_parameters()}
    module[2].get_parameter("weight").register_hook(lambda grad: grad * float("inf"))
    loss = backward(module, 0)
    assert bool(loss.isfinite())
    assert not bool(inside.norm().isfinite()), "the step is logged as skipped"
    changed = {name for name, value in module.named_parameters() if not value.equal(before[name])}
    assert changed == {"6.weight", "6.bias", "4.weight", "4.bias", "2.bias"} & changed
    assert {"6.weight", "4.weight"} <= changed, "backward goes from the last layer to the first"
    assert not {"2.weight", "0.weight", "0.bias"} & changed


def test_pieces_of_several_weights_are_refused() -> None:
    module = net()
    pieces = in_pieces(
        named(module),
        lambda some: torch.optim.AdamW(some.values()),
        precision=PRECISIONS["fp32"],
        seed=0,
    )
    with pytest.raises(ValueError, match="of one weight"):
        eager(pieces)
