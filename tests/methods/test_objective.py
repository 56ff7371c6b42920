"""Offsets, guards, ties and health of a composed objective."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from diffpref.draws import Draws
from diffpref.errors import ConfigError
from diffpref.health import health
from diffpref.methods.diffusion_dpo import diffusion_dpo
from diffpref.methods.sft import sft
from diffpref.schedule import NoiseSchedule
from diffpref.toolkit import Toolkit
from diffpref.train.backward import accumulate
from diffpref.types import Loss, Measure, Nets, PerImage, PerPrompt, PerRow

Make = Callable[..., Any]


def _step(objective: Any, nets: Nets, batch: Any, **options: Any) -> tuple[Loss, list[Tensor]]:
    policy: Any = nets.policy
    policy.zero_grad(set_to_none=True)
    draws = Draws(seed=0, positions=batch.positions)
    loss = accumulate(objective, nets, batch, draws, **options)
    return loss, [parameter.grad.clone() for parameter in policy.parameters()]


@pytest.fixture
def nets(make_net: Make) -> Nets:
    reference = make_net(1)
    return Nets(policy=make_net(2, near=reference, by=0.1), reference=reference)


def _spread(score: PerImage) -> PerPrompt:
    return 0.5 * (score.amax(dim=1) - score.amin(dim=1))


def test_an_offset_is_subtracted_from_the_logit(kit: Toolkit, nets: Nets, make_batch: Make) -> None:
    plain = diffusion_dpo(kit, beta=20.0)
    shifted = replace(plain, offset=_spread)
    before, _ = _step(plain, nets, make_batch(3))
    after, _ = _step(shifted, nets, make_batch(3))
    assert torch.allclose(after.metrics["logit"], before.metrics["logit"] - 0.5)
    assert torch.allclose(after.value, -F.logsigmoid(before.metrics["logit"] - 0.5).mean())
    assert plain.first_loss is not None
    assert shifted.first_loss is None


def test_an_offset_needs_a_pair_loss(kit: Toolkit) -> None:
    with pytest.raises(ConfigError, match=r"parts\.offset"):
        replace(sft(kit), offset=_spread)


def _quieten_losers(residual: Measure, label: PerImage) -> PerRow:
    assert residual.dim() == 4
    return label.flatten().to(residual)


@pytest.mark.parametrize("rows", [None, 1, 3])
def test_a_guard_scales_gradients_and_changes_no_value(
    kit: Toolkit, nets: Nets, make_batch: Make, rows: int | None
) -> None:
    """With the loser silenced, d loss = kappa sigma(-u) d m_w: the slope of SFT, reweighted."""
    plain = diffusion_dpo(kit, beta=20.0)
    batch = make_batch(1)
    before, unguarded = _step(plain, nets, batch)
    after, guarded = _step(replace(plain, guard=_quieten_losers), nets, batch, rows_per_pass=rows)
    assert torch.allclose(before.value, after.value, rtol=1e-12)
    _, fitted = _step(sft(kit), nets, batch)
    factor = 10.0 * torch.sigmoid(-before.metrics["logit"]).item()
    for ours, theirs, fit in zip(guarded, unguarded, fitted, strict=True):
        assert torch.allclose(ours, factor * fit, rtol=1e-9, atol=1e-13)
        assert not torch.allclose(ours, theirs, rtol=1e-3)


def test_a_tied_pair_is_neutral(kit: Toolkit, nets: Nets, make_batch: Make) -> None:
    batch = replace(make_batch(1), score=torch.tensor([[0.5, 0.5]]))
    loss, grads = _step(diffusion_dpo(kit, beta=20.0), nets, batch)
    assert loss.metrics["implicit_accuracy"].tolist() == [0.5]
    assert loss.metrics["margin"].tolist() == [0.0]
    assert all(grad.abs().max().item() == 0 for grad in grads)


def test_health_of_lists_single_images_and_ties() -> None:
    policy = torch.tensor([[3.0, 1.0, 2.0], [1.0, 3.0, 3.0], [1.0, 1.0, 1.0]])
    zero = torch.zeros(3, 3)
    label = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    found = health(policy, zero, label)
    assert found["implicit_accuracy"].tolist() == pytest.approx([1.0, 0.5, 1 / 3])
    assert found["winner_drift"].tolist() == [3, 3, 1]
    assert found["loser_drift"].tolist() == [1.5, 2, 1]
    assert found["margin"].tolist() == [1.5, 1, 0]
    single = health(torch.tensor([[-0.06]]), torch.zeros(1, 1), torch.ones(1, 1))
    assert set(single) == {"winner_error", "winner_drift"}
    assert single["winner_error"].item() == pytest.approx(0.12)
    free = health(policy, None, label)
    assert "winner_drift" not in free
    assert free["margin"].tolist() == [1.5, 1, 0]


def test_a_toolkit_names_what_it_cannot_make(schedule: NoiseSchedule) -> None:
    kit = Toolkit(schedule=schedule)
    with pytest.raises(ConfigError, match=r"method\.name"):
        kit.embedder("down")
    with pytest.raises(ConfigError, match="reward:"):
        kit.reward()
