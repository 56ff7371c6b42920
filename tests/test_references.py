"""Each kind of reference says what it says it does, and lets no gradient through."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import nn

from diffpref.references import (
    adapters_off,
    borrowed,
    copies,
    ema,
    frozen,
    loan,
    none,
    refreshed,
)
from diffpref.types import Conditioning

INPUT = (
    torch.ones(2, 2, 4, 4, dtype=torch.float64),
    torch.tensor([1, 900]),
    Conditioning(text=torch.ones(2, 3, 5, dtype=torch.float64)),
)
Maker = Callable[..., nn.Module]


def _moved(net: nn.Module, by: float) -> None:
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(by)


def test_no_reference_is_no_network() -> None:
    reference = none()
    assert reference.net is None
    reference.after_step(1)


def test_a_frozen_copy_never_moves_and_gives_no_gradient(make_net: Maker) -> None:
    policy, copy = make_net(0), make_net(0)
    reference = frozen(copy)
    assert reference.net is not None
    before = reference.net(*INPUT)
    assert not before.requires_grad
    _moved(policy, 0.1)
    reference.after_step(1)
    assert torch.equal(reference.net(*INPUT), before)
    assert not reference.state


def test_adapters_are_off_only_while_the_reference_is_asked(make_net: Maker) -> None:
    net = make_net(0)
    log: list[str] = []

    @contextmanager
    def off() -> Iterator[None]:
        log.append("off")
        with torch.no_grad():
            net.out.bias.sub_(1.0)
            yield
            net.out.bias.add_(1.0)
        log.append("on")

    reference = adapters_off(net, off)
    assert reference.net is not None
    policy = net(*INPUT)
    base = reference.net(*INPUT)
    assert torch.allclose(base, policy - 1)
    assert not base.requires_grad
    assert log == ["off", "on"]
    assert torch.allclose(net(*INPUT), policy)


def test_an_average_follows_by_its_equation(make_net: Maker) -> None:
    live = dict(make_net(0).named_parameters())
    own = copies(live)
    expected = {name: tensor.clone() for name, tensor in own.items()}
    reference = ema(make_net(0), own=own, live=live, decay=0.9)
    for step in (1, 2, 3):
        with torch.no_grad():
            for parameter in live.values():
                parameter.add_(0.5)
        reference.after_step(step)
        for name, value in expected.items():
            expected[name] = 0.9 * value + 0.1 * live[name].detach()
    for name, tensor in reference.state.items():
        assert torch.allclose(tensor, expected[name], atol=1e-14)
        assert not tensor.requires_grad


def test_refreshing_is_a_function_of_the_step_and_keeps_no_counter(make_net: Maker) -> None:
    policy = make_net(0)
    live = dict(policy.named_parameters())
    own = copies(live)
    reference = refreshed(make_net(0), own=own, live=live, refresh_every=3)
    start = copies(own)
    _moved(policy, 1.0)
    for step in (1, 2, 4, 5):
        reference.after_step(step)
        assert all(torch.equal(own[name], start[name]) for name in own)
    reference.after_step(6)
    assert all(torch.equal(own[name], live[name]) for name in own)


@pytest.mark.parametrize("in_place", [False, True])
def test_a_borrowed_network_computes_with_its_own_parameters(
    make_net: Maker, in_place: bool
) -> None:
    policy, start = make_net(0), make_net(0)
    live = dict(policy.named_parameters())
    own = copies(live)
    _moved(policy, 0.3)
    moved = {name: (parameter, parameter.detach().clone()) for name, parameter in live.items()}
    net = borrowed(policy, loan(own, live, in_place=in_place))
    reference = refreshed(net, own=own, live=live, refresh_every=9)
    assert reference.net is not None
    assert torch.equal(reference.net(*INPUT), start(*INPUT))
    for name, (parameter, value) in moved.items():
        assert dict(policy.named_parameters())[name] is parameter
        assert torch.equal(parameter, value)


def test_weights_lent_for_a_window_are_moved_once(make_net: Maker) -> None:
    policy, start = make_net(0), make_net(0)
    live = dict(policy.named_parameters())
    own = copies(live)
    _moved(policy, 0.3)
    before = copies(live)
    places = {name: parameter.data_ptr() for name, parameter in live.items()}
    lent = loan(own, live, in_place=True)
    net = frozen(borrowed(policy, lent), at_hand=lent)
    assert net.net is not None
    with net.at_hand():
        assert torch.equal(policy(*INPUT), start(*INPUT)), "the policy has the start's weights"
        with torch.no_grad():
            live["out.bias"].add_(1)  # a second fetch would undo it
        assert not torch.equal(net.net(*INPUT), start(*INPUT))
    assert all(torch.equal(live[name], before[name]) for name in live)
    assert places == {name: parameter.data_ptr() for name, parameter in live.items()}
    assert all(torch.equal(own[name], value) for name, value in start.named_parameters())


@pytest.mark.parametrize("in_place", [False, True])
def test_a_borrowed_network_is_given_back_after_an_error(make_net: Maker, in_place: bool) -> None:
    policy = make_net(0)
    live = dict(policy.named_parameters())
    own = {name: torch.zeros_like(tensor) for name, tensor in copies(live).items()}
    before = copies(live)
    with pytest.raises(RuntimeError):
        borrowed(policy, loan(own, live, in_place=in_place))(
            torch.ones(2, 9, 4, 4), INPUT[1], INPUT[2]
        )
    assert all(torch.equal(live[name], before[name]) for name in live)


def test_a_half_precision_average_still_computes_in_float32(make_net: Maker) -> None:
    live = dict(make_net(0).named_parameters())
    own = copies(live, dtype=torch.bfloat16)
    expected = {name: 0.5 * own[name].double() + 0.5 * live[name].detach() for name in own}
    ema(make_net(0), own=own, live=live, decay=0.5).after_step(1)
    for name, tensor in own.items():
        assert tensor.dtype == torch.bfloat16
        assert torch.equal(tensor, expected[name].float().to(torch.bfloat16))


def test_impossible_averages_are_refused(make_net: Maker) -> None:
    live = dict(make_net(0).named_parameters())
    own = copies(live)
    with pytest.raises(ValueError, match=r"reference\.decay"):
        ema(make_net(0), own=own, live=live, decay=1.0)
    with pytest.raises(ValueError, match=r"reference\.refresh_every"):
        refreshed(make_net(0), own=own, live=live, refresh_every=0)
    own.pop("out.bias")
    with pytest.raises(ValueError, match=r"out\.bias"):
        ema(make_net(0), own=own, live=live, decay=0.5)
