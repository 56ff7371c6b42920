"""One step's gradient when prompts meet in the loss, on one process and on two."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from diffpref.draws import Draws
from diffpref.losses import logistic
from diffpref.methods.diffusion_dpo import diffusion_dpo
from diffpref.objective import PreferenceObjective
from diffpref.toolkit import Toolkit
from diffpref.train.backward import accumulate
from diffpref.types import (
    Denoiser,
    Loss,
    Measure,
    Nets,
    Noised,
    PreferenceBatch,
)

Make = Callable[..., Any]


class Coupled:
    """An objective whose prompts meet: every margin is taken against the batch's mean."""

    def __init__(self, kit: Toolkit) -> None:
        self.inner: PreferenceObjective[Noised] = diffusion_dpo(kit, beta=20.0)

    @property
    def couples_batch(self) -> bool:
        return True

    def draw(self, nets: Nets, batch: PreferenceBatch, draws: Draws, /) -> Noised:
        return self.inner.draw(nets, batch, draws)

    def measure(self, net: Denoiser, point: Noised, /) -> Measure:
        return self.inner.measure(net, point)

    def compare(self, policy: Measure, reference: Measure | None, point: Noised, /) -> Loss:
        shape = point.score.shape
        assert reference is not None
        logit = logistic(beta=20.0).logit(
            policy.view(shape), reference.view(shape), point.score.to(policy)
        )
        weighted = logit if point.weight is None else logit * point.weight.to(logit)
        centred = (weighted - weighted.mean()).square() * (1 + point.t.view(shape)[:, 0] / 1000)
        return Loss(centred.mean(), {"logit": logit})


def _nets(make_net: Make) -> Nets:
    reference = make_net(1)
    return Nets(policy=make_net(2, near=reference, by=0.1), reference=reference)


def _step(objective: Any, nets: Nets, batch: PreferenceBatch, **options: Any) -> Any:
    policy: Any = nets.policy
    policy.zero_grad(set_to_none=True)
    loss = accumulate(objective, nets, batch, Draws(seed=0, positions=batch.positions), **options)
    return loss, [parameter.grad.clone() for parameter in policy.parameters()]


def _part(batch: PreferenceBatch, index: slice) -> PreferenceBatch:
    return replace(
        batch,
        latents=batch.latents[index],
        cond=batch.cond.rows(index),
        score=batch.score[index],
        positions=batch.positions[index],
        weight=None if batch.weight is None else batch.weight[index],
    )


@pytest.mark.parametrize("rows", [1, 3, 4, 7, None])
def test_a_coupled_batch_is_exact_whatever_the_rows_a_pass(
    kit: Toolkit, make_net: Make, make_batch: Make, rows: int | None
) -> None:
    nets, batch = _nets(make_net), make_batch(4)
    whole, grads = _step(Coupled(kit), nets, batch)
    other, others = _step(Coupled(kit), nets, batch, rows_per_pass=rows)
    assert torch.allclose(whole.value, other.value, rtol=1e-12)
    for a, b in zip(grads, others, strict=True):
        assert torch.allclose(a, b, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("coupled", [True, False])
@pytest.mark.parametrize("rows", [None, 3])
def test_the_mean_gradient_of_two_processes_is_that_of_one(
    kit: Toolkit, make_net: Make, make_batch: Make, coupled: bool, rows: int | None
) -> None:
    """Processes are played one after the other; `gather` looks up what the other would send."""
    objective = Coupled(kit) if coupled else diffusion_dpo(kit, beta=20.0)
    nets = _nets(make_net)
    batch = replace(make_batch(4), weight=torch.tensor([1.0, 2.0, 0.5, 1.5]))
    whole, grads = _step(objective, nets, batch)
    parts = [_part(batch, slice(0, 2)), _part(batch, slice(2, 4))]
    sent: list[list[Tensor]] = [[], []]
    for rank, part in enumerate(parts):
        _step(objective, nets, part, gather=_recorder(sent[rank]), rows_per_pass=rows)
    both = [
        _step(objective, nets, part, rank=rank, rows_per_pass=rows, gather=_replayer(sent))
        for rank, part in enumerate(parts)
    ]
    for i, grad in enumerate(grads):
        mean = (both[0][1][i] + both[1][1][i]) / 2
        assert torch.allclose(mean, grad, rtol=1e-10, atol=1e-14)
    logits = torch.cat([loss.metrics["logit"] for loss, _ in both])
    assert torch.allclose(logits, whole.metrics["logit"], rtol=1e-12)
    if coupled:
        assert torch.allclose(both[0][0].value, whole.value, rtol=1e-12)
    else:
        assert sent == [[], []]


def _recorder(sent: list[Tensor]) -> Callable[[Tensor], Tensor]:
    def gather(tensor: Tensor) -> Tensor:
        sent.append(tensor.clone())
        return tensor

    return gather


def _replayer(sent: list[list[Tensor]]) -> Callable[[Tensor], Tensor]:
    calls = iter(range(100))

    def gather(tensor: Tensor) -> Tensor:
        del tensor
        call = next(calls)
        return torch.cat([sent[0][call], sent[1][call]])

    return gather
