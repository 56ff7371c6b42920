"""A network in shards: copied, rebuilt, and its tensors laid out, in a group of one process."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.tensor import DTensor, Replicate, Shard

from diffpref.train.shards import Shards, gathered, laid_out, shard, whole

CPU = torch.device("cpu")


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(3, 3, dtype=torch.float64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.tanh(self.inner(x))


def make_net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(Block(), Block(), nn.Linear(3, 2, dtype=torch.float64))


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path) -> Iterator[None]:
    store = dist.FileStore(str(tmp_path / "store"), 1)
    dist.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.fixture
def shards() -> Shards[nn.Sequential]:
    return shard(make_net(), device=CPU, blocks=["Block"], compute=None)


X = torch.linspace(-1, 1, 12, dtype=torch.float64).view(4, 3)


def test_a_split_network_computes_as_before_and_its_parameters_are_shards(
    shards: Shards[nn.Sequential],
) -> None:
    assert torch.equal(shards.net(X), make_net()(X))
    assert all(isinstance(value, DTensor) for value in shards.net.parameters())


def test_a_copy_is_the_network_of_now_frozen_and_does_not_follow_it(
    shards: Shards[nn.Sequential],
) -> None:
    with torch.no_grad():
        for value in shards.net.parameters():
            value.mul_(2)
    twin, now = shards.copy(), shards.net(X).detach()
    assert torch.equal(twin(X), now)
    assert not any(value.requires_grad for value in twin.parameters())
    with torch.no_grad():
        for value in shards.net.parameters():
            value.mul_(2)
    assert torch.equal(twin(X), now)
    assert not torch.equal(shards.net(X).detach(), now)


def test_the_whole_network_is_an_ordinary_one_for_whoever_keeps_it(
    shards: Shards[nn.Sequential],
) -> None:
    plain = shards.whole(keep=True)
    assert plain is not None
    assert type(plain) is nn.Sequential
    assert not any(isinstance(value, DTensor) for value in plain.parameters())
    assert torch.equal(plain(X), make_net()(X))
    assert shards.whole(keep=False) is None


def test_weights_stay_together_only_while_calls_need_not_be_in_step(
    shards: Shards[nn.Sequential],
) -> None:
    def kinds() -> set[bool]:
        return {isinstance(value, DTensor) for value in shards.net.parameters()}

    with torch.no_grad():
        before = shards.net(X)
        assert kinds() == {True}
        with shards.in_own_time():
            assert kinds() == {True}  # nothing is gathered that nobody calls
            assert torch.equal(shards.net(X), before)
            assert kinds() == {False}
        assert kinds() == {True}
        shards.net(X)
        assert kinds() == {True}


def test_tensors_follow_the_layout_of_what_they_belong_to(shards: Shards[nn.Sequential]) -> None:
    weight = shards.net.get_parameter("2.weight")
    alike = laid_out(torch.ones(2, 3), weight)
    row = laid_out(torch.ones(2), weight)
    assert isinstance(alike, DTensor)
    assert alike.placements == (Shard(0),)
    given = torch.ones(2, 3)
    own = laid_out(given, weight)
    assert isinstance(own, DTensor)
    assert own.to_local().data_ptr() != given.data_ptr()  # else it would keep all of it alive
    assert isinstance(row, DTensor)
    assert row.placements == (Replicate(),)
    number = torch.tensor(3.0)
    assert laid_out(number, weight) is number
    plain = torch.ones(2, 3)
    assert laid_out(plain, torch.zeros(2, 3)) is plain
    assert torch.equal(whole(alike), plain)
    kept = gathered({"a": alike, "b": plain}, keep=True)
    assert not isinstance(kept["a"], DTensor)
    assert torch.equal(kept["a"], plain)
    assert kept["b"] is plain
    assert gathered({"a": alike, "b": plain}, keep=False) == {}
