"""One step's gradient: any number of rows a pass, bounded memory, exact calls."""

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from diffpref.draws import Draws
from diffpref.methods.diffusion_dpo import diffusion_dpo
from diffpref.methods.inpo import inpo
from diffpref.toolkit import Toolkit
from diffpref.train.backward import accumulate
from diffpref.types import (
    Conditioning,
    Nets,
    PreferenceBatch,
)

Make = Callable[..., Any]


def _nets(make_net: Make) -> Nets:
    reference = make_net(1)
    return Nets(policy=make_net(2, near=reference, by=0.1), reference=reference)


def _step(objective: Any, nets: Nets, batch: PreferenceBatch, **options: Any) -> Any:
    policy: Any = nets.policy
    policy.zero_grad(set_to_none=True)
    loss = accumulate(objective, nets, batch, Draws(seed=0, positions=batch.positions), **options)
    return loss, [parameter.grad.clone() for parameter in policy.parameters()]


class Kept:
    """An activation that autograd saved for backward."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


def test_only_one_pass_of_activations_is_alive_at_a_time(
    kit: Toolkit, make_net: Make, make_batch: Make
) -> None:
    alive: weakref.WeakSet[Kept] = weakref.WeakSet()
    before: list[int] = []
    after: list[int] = []

    def pack(tensor: Tensor) -> Kept:
        kept = Kept(tensor)
        alive.add(kept)
        return kept

    def watched(net: Any) -> Any:
        def forward(x_t: Tensor, t: Tensor, cond: Conditioning, /) -> Tensor:
            before.append(len(alive))
            with torch.autograd.graph.saved_tensors_hooks(pack, lambda kept: kept.tensor):
                out = net(x_t, t, cond)
            after.append(len(alive))
            return out

        return forward

    nets = _nets(make_net)
    spied, batch = nets._replace(policy=watched(nets.policy)), make_batch(4)
    draws = Draws(seed=0, positions=batch.positions)
    accumulate(diffusion_dpo(kit, beta=20.0), spied, batch, draws, rows_per_pass=3)
    assert before == [0] * 6
    assert after[:3] == [0] * 3
    assert min(after[3:]) > 0
    assert not alive


def test_all_passes_but_the_last_are_unsynchronised(
    kit: Toolkit, make_net: Make, make_batch: Make
) -> None:
    log: list[str] = []
    nets = _nets(make_net)

    @contextmanager
    def unsynced() -> Iterator[None]:
        log.append("quiet")
        yield
        log.append("loud")

    def policy_backward(_: Any) -> None:
        log.append("backward")

    policy: Any = nets.policy
    policy.out.bias.register_post_accumulate_grad_hook(policy_backward)
    objective = diffusion_dpo(kit, beta=20.0)
    _step(objective, nets, make_batch(3), rows_per_pass=2, unsynced=unsynced)
    assert log == ["quiet", "backward", "loud"] * 2 + ["backward"]
    log.clear()
    _step(objective, nets, make_batch(3), unsynced=unsynced)
    assert log == ["backward"]


def test_networks_are_called_as_often_as_promised(
    kit: Toolkit, make_net: Make, make_batch: Make
) -> None:
    nets, calls = _nets(make_net), {"policy": 0, "reference": 0}

    def counted(name: str, net: Any) -> Any:
        def forward(x_t: Tensor, t: Tensor, cond: Conditioning, /) -> Tensor:
            calls[name] += len(x_t)
            return net(x_t, t, cond)

        return forward

    spies = Nets(counted("policy", nets.policy), counted("reference", nets.reference))
    batch, objective = make_batch(3), diffusion_dpo(kit, beta=20.0)
    draws = Draws(seed=0, positions=batch.positions)
    accumulate(objective, spies, batch, draws)
    assert calls == {"policy": 6, "reference": 6}
    accumulate(objective, spies, batch, draws, rows_per_pass=4)  # whole prompts: no replay
    assert calls == {"policy": 12, "reference": 12}
    accumulate(objective, spies, batch, draws, rows_per_pass=3)  # a prompt is cut in two
    assert calls == {"policy": 24, "reference": 18}


@pytest.mark.parametrize("rows", [2, 4])
def test_whole_prompts_a_pass_give_the_gradient_of_the_replay(
    kit: Toolkit, make_net: Make, make_batch: Make, rows: int
) -> None:
    """The replayed gradient is computed here as a coupled objective's is."""

    class Met:
        """The same objective, which no longer says that its prompts are apart."""

        def __init__(self, inner: Any) -> None:
            self.draw, self.measure, self.compare = inner.draw, inner.measure, inner.compare
            self.couples_batch = False

    nets, batch, objective = _nets(make_net), make_batch(3), diffusion_dpo(kit, beta=20.0)
    apart, grads = _step(objective, nets, batch, rows_per_pass=rows)
    replayed, others = _step(Met(objective), nets, batch, rows_per_pass=rows)
    assert torch.equal(apart.value, replayed.value)
    assert apart.metrics.keys() == replayed.metrics.keys()
    for name, values in apart.metrics.items():
        assert torch.equal(values, replayed.metrics[name])
    for a, b in zip(grads, others, strict=True):
        assert torch.allclose(a, b, rtol=1e-12, atol=1e-15)


def test_inversion_goes_in_large_passes_over_the_whole_window_and_rows_that_arrived_rest(
    kit: Toolkit, make_net: Make, make_batch: Make
) -> None:
    nets, batch, passes = _nets(make_net), make_batch(6), list[int]()
    draws = Draws(seed=0, positions=batch.positions)
    objective = inpo(kit, beta=20.0, steps=5)

    def spied(x_t: Tensor, t: Tensor, cond: Conditioning, /) -> Tensor:
        if not torch.is_grad_enabled():
            passes.append(len(x_t))
        return nets.policy(x_t, t, cond)

    spies = nets._replace(policy=spied)
    whole, grads = _step(objective, nets, batch)
    for ahead, largest in ((None, 8), (3, 3)):
        passes.clear()
        policy: Any = nets.policy
        policy.zero_grad(set_to_none=True)
        loss = accumulate(objective, spies, batch, draws, rows_per_pass=2, rows_ahead=ahead)
        t = draws.integers("t", 0, len(kit.schedule))
        stride = len(kit.schedule) // 5
        assert sum(passes) == 2 * int((t // stride + 1).sum()), "each row climbs to its own t"
        assert max(passes) == largest
        assert torch.allclose(loss.value, whole.value, rtol=1e-12)
        for parameter, grad in zip(policy.parameters(), grads, strict=True):
            assert torch.allclose(parameter.grad, grad, rtol=1e-9, atol=1e-13)


def test_the_reference_is_called_inside_its_context_and_the_policy_outside(
    kit: Toolkit, make_net: Make, make_batch: Make
) -> None:
    nets, batch, log = _nets(make_net), make_batch(3), list[str]()

    def noted(name: str, net: Any) -> Any:
        def forward(x_t: Tensor, t: Tensor, cond: Conditioning, /) -> Tensor:
            log.append(name)
            return net(x_t, t, cond)

        return forward

    @contextmanager
    def referring() -> Iterator[None]:
        log.append("(")
        yield
        log.append(")")

    spies = Nets(noted("policy", nets.policy), noted("reference", nets.reference))
    draws = Draws(seed=0, positions=batch.positions)
    objective = diffusion_dpo(kit, beta=20.0)
    accumulate(objective, spies, batch, draws, rows_per_pass=2, referring=referring)
    assert log == ["(", *["reference"] * 3, ")", *["policy"] * 3]


def test_gradients_add_up_over_windows_and_scale_is_a_factor(
    kit: Toolkit, make_net: Make, make_batch: Make
) -> None:
    nets, batch, objective = _nets(make_net), make_batch(2), diffusion_dpo(kit, beta=20.0)
    _, grads = _step(objective, nets, batch)
    draws = Draws(seed=0, positions=batch.positions)
    for rows in (None, 1):
        loss, _ = _step(objective, nets, batch)
        accumulate(objective, nets, batch, draws, scale=3.0, rows_per_pass=rows)
        policy: Any = nets.policy
        for parameter, grad in zip(policy.parameters(), grads, strict=True):
            assert torch.allclose(parameter.grad, 4 * grad, rtol=1e-10, atol=1e-14)
        assert not loss.value.requires_grad


def test_results_hold_no_graph(kit: Toolkit, make_net: Make, make_batch: Make) -> None:
    for rows in (None, 1):
        objective = diffusion_dpo(kit, beta=20.0)
        loss, _ = _step(objective, _nets(make_net), make_batch(2), rows_per_pass=rows)
        assert not loss.value.requires_grad
        assert not any(value.requires_grad for value in loss.metrics.values())
        assert all(value.shape == (2,) for value in loss.metrics.values())


def test_no_rows_a_pass_is_refused(kit: Toolkit, make_net: Make, make_batch: Make) -> None:
    with pytest.raises(ValueError, match=r"loop\.rows_per_pass"):
        _step(diffusion_dpo(kit), _nets(make_net), make_batch(2), rows_per_pass=0)
