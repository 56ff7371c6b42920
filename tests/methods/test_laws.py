"""The laws every method obeys, run on every method and every loss."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from diffpref.draws import Draws
from diffpref.likelihoods import latent_loglik
from diffpref.methods import METHODS
from diffpref.steps import StepPairs
from diffpref.types import AnyObjective, Conditioning, Loss, Nets
from tests.methods import windows

Net = Callable[..., Any]
Batch = Callable[..., Any]
Gradient = Callable[..., tuple[Loss, list[Tensor]]]


def _close(ours: list[Tensor], theirs: list[Tensor], rtol: float = 1e-10) -> None:
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a, b, rtol=rtol, atol=1e-14)


def test_law_1_an_unmoved_policy_has_the_known_loss(
    case: Any, objective: Any, make_net: Net, batch_for: Batch, gradient: Gradient
) -> None:
    net, batch = make_net(1), batch_for(4)
    free = METHODS[case.method].reference == "refused"
    nets = Nets(policy=net, reference=None if free else make_net(1))
    loss, grads = gradient(objective, nets, batch)
    if case.start is not None:
        assert torch.allclose(loss.value, torch.tensor(case.start).double(), atol=1e-14)
    known = getattr(objective, "first_loss", None)
    if known is not None:
        assert known == pytest.approx(case.start)
    if not free:
        if "implicit_accuracy" in loss.metrics:
            chance = 0.5 if isinstance(batch, StepPairs) else 1 / batch.score.shape[1]
            assert loss.metrics["implicit_accuracy"].tolist() == pytest.approx([chance] * 4)
        for name in ("winner_drift", "step_kl", "drift", "reward_gain"):
            if name in loss.metrics:
                assert loss.metrics[name].nan_to_num(0.0).tolist() == [0.0] * 4
    assert any(bool(grad.abs().max() > 0) for grad in grads)


def test_law_2_the_order_of_a_prompts_images_does_not_matter(
    case: Any, objective: AnyObjective, nets: Nets, batch_for: Batch, gradient: Gradient
) -> None:
    case.obeys(2)
    batch = batch_for(3)
    flipped = windows.flipped(batch)
    loss, grads = gradient(objective, nets, batch)
    other, other_grads = gradient(objective, nets, flipped)
    assert torch.allclose(loss.value, other.value, rtol=1e-12)
    _close(grads, other_grads)
    for name, values in loss.metrics.items():
        assert torch.allclose(values, other.metrics[name], atol=1e-12, equal_nan=True)


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 6, 100])
def test_law_3_passes_over_some_rows_equal_one_pass_over_all(
    objective: AnyObjective, nets: Nets, batch_for: Batch, gradient: Gradient, rows: int
) -> None:
    batch = windows.weighted(batch_for(3), torch.tensor([1.0, 0.5, 2.0]))
    loss, grads = gradient(objective, nets, batch, scale=3.0)
    other, other_grads = gradient(objective, nets, batch, scale=3.0, rows_per_pass=rows)
    assert torch.allclose(loss.value, other.value, rtol=1e-12)
    _close(grads, other_grads)


def test_law_4_the_seed_decides_everything(
    case: Any, objective: AnyObjective, nets: Nets, batch_for: Batch, gradient: Gradient
) -> None:
    batch = batch_for(3)
    loss, grads = gradient(objective, nets, batch)
    torch.manual_seed(123)
    again, same = gradient(objective, nets, batch)
    assert torch.equal(loss.value, again.value)
    assert all(torch.equal(a, b) for a, b in zip(grads, same, strict=True))
    other, _ = gradient(objective, nets, batch, seed=1)
    assert torch.equal(loss.value, other.value) == case.exempt(4)
    point = objective.draw(nets, batch, Draws(seed=0, positions=batch.positions))
    first = objective.measure(nets.policy, point)
    assert torch.equal(first, objective.measure(nets.policy, point))


def test_law_5_a_small_step_downhill_lowers_the_loss(
    case: Any, objective: AnyObjective, nets: Nets, batch_for: Batch, gradient: Gradient
) -> None:
    case.obeys(5)
    batch = batch_for(3)
    policy: Any = nets.policy
    before, grads = gradient(objective, nets, batch)
    with torch.no_grad():
        for parameter, grad in zip(policy.parameters(), grads, strict=True):
            parameter.sub_(1e-4 * grad)
    after, _ = gradient(objective, nets, batch)
    assert after.value < before.value


@pytest.mark.parametrize("rows", [None, 2])
def test_law_6_no_gradient_reaches_the_reference_or_the_data(
    case: Any,
    objective: AnyObjective,
    nets: Nets,
    batch_for: Batch,
    gradient: Gradient,
    rows: int | None,
) -> None:
    batch, leaf = batch_for(3), torch.zeros(())
    if not case.exempt(6):
        batch, leaf = windows.asking_gradient(batch)
    gradient(objective, nets, batch, rows_per_pass=rows)
    if nets.reference is not None:
        assert isinstance(nets.reference, nn.Module)
        assert all(parameter.grad is None for parameter in nets.reference.parameters())
    assert leaf.grad is None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_law_7_half_precision_is_measured_in_float32(
    objective: Any, nets: Nets, batch_for: Batch, dtype: torch.dtype
) -> None:
    def halved(x_t: Tensor, t: Tensor, cond: Conditioning, /) -> Tensor:
        wide = cond.map(lambda tensor: tensor.double())
        return nets.policy(x_t.double(), t, wide).to(dtype)

    batch = batch_for(3, dtype=torch.float32)
    batch = windows.narrowed(batch, dtype)
    drawing = Nets(halved, None if nets.reference is None else halved)
    point = objective.draw(drawing, batch, Draws(seed=0, positions=batch.positions))
    measured = objective.measure(halved, point)
    assert measured.dtype == torch.float32
    if getattr(objective, "likelihood", None) is latent_loglik:
        residual = halved(point.x_t, point.t, point.cond).double() - point.noise.double()
        loglik = -0.5 * residual.square().mean(dim=(1, 2, 3))
        expected = loglik if measured.dim() == 1 else residual
        assert torch.allclose(measured.double(), expected, rtol=1e-5)
    theirs = None if nets.reference is None else measured - 0.001
    loss = objective.compare(measured, theirs, point)
    assert loss.value.dtype == torch.float32


def test_law_8_a_batch_is_the_mean_of_its_prompts(
    case: Any, objective: AnyObjective, nets: Nets, batch_for: Batch, gradient: Gradient
) -> None:
    case.obeys(8)
    assert not objective.couples_batch
    batch = batch_for(4)
    whole, grads = gradient(objective, nets, batch)
    alone = [gradient(objective, nets, windows.one(batch, i)) for i in range(4)]
    mean = torch.stack([loss.value for loss, _ in alone]).mean()
    assert torch.allclose(whole.value, mean, rtol=1e-12)
    means = [torch.stack(each).mean(dim=0) for each in zip(*(g for _, g in alone), strict=True)]
    _close(grads, means)


def test_law_9_a_prompts_weight_multiplies_its_loss(
    case: Any, objective: AnyObjective, nets: Nets, batch_for: Batch, gradient: Gradient
) -> None:
    case.obeys(8)
    case.obeys(9)
    batch = batch_for(2)
    weight = torch.tensor([0.25, 3.0])
    weighted, _ = gradient(objective, nets, windows.weighted(batch, weight))
    alone = [gradient(objective, nets, windows.one(batch, i))[0].value for i in range(2)]
    assert torch.allclose(weighted.value, (0.25 * alone[0] + 3.0 * alone[1]) / 2, rtol=1e-12)


def test_law_10_the_gradient_is_that_of_central_differences(
    case: Any, objective: AnyObjective, nets: Nets, batch_for: Batch, gradient: Gradient
) -> None:
    case.obeys(10)
    batch = batch_for(2)
    policy: Any = nets.policy
    _, grads = gradient(objective, nets, batch)
    for parameter, grad in zip(policy.parameters(), grads, strict=True):
        flat, slopes = parameter.data.view(-1), grad.view(-1)
        for i in range(0, len(flat), max(1, len(flat) // 3)):
            kept = flat[i].item()
            values = []
            for step in (1e-5, -1e-5):
                flat[i] = kept + step
                values.append(gradient(objective, nets, batch)[0].value.item())
            flat[i] = kept
            slope = (values[0] - values[1]) / 2e-5
            assert slopes[i].item() == pytest.approx(slope, rel=1e-6, abs=1e-9)
