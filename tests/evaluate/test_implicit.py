"""Implicit accuracy on networks whose log ratios are known in closed form."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from diffpref.draws import Draws
from diffpref.errors import DataError
from diffpref.evaluate.implicit import grid_steps, implicit_accuracy, standard_error, untied
from diffpref.schedule import NoiseSchedule
from diffpref.types import Conditioning, Nets, PreferenceBatch

Make = Callable[..., PreferenceBatch]


class Knower:
    """Predicts epsilon exactly where it knows x_0, with an error added."""

    def __init__(self, schedule: NoiseSchedule, x_0: Tensor, error: Tensor) -> None:
        self.schedule, self.x_0, self.error = schedule, x_0, error

    def __call__(self, x_t: Tensor, t: Tensor, cond: Conditioning, /) -> Tensor:
        del cond
        eps = self.schedule.noise_between(self.x_0, x_t, t)
        return eps + self.error[:, None, None, None]


def measured(make_batch: Make, schedule: NoiseSchedule, errors: list[float], **how: int) -> object:
    """Policy errors per image as given; the reference errs by 1 everywhere."""
    batch = make_batch(len(errors) // 2)
    x_0 = batch.latents.flatten(0, 1)
    policy = Knower(schedule, x_0, torch.tensor(errors, dtype=torch.float64))
    reference = Knower(schedule, x_0, torch.ones(len(errors), dtype=torch.float64))
    steps = grid_steps(len(schedule), how.get("steps", 4))
    nets = Nets(policy=policy, reference=reference)
    return implicit_accuracy(nets, schedule, [batch], steps=steps, noises=how.get("noises", 2))


def test_margin_and_accuracy_follow_from_the_errors(
    make_batch: Make, schedule: NoiseSchedule
) -> None:
    """r = -1/2 (error^2 - 1), so margins are half the differences of squared errors.

    Prompt 0 prefers image 0, prompt 1 image 1, prompt 2 image 0.
    """
    found = measured(make_batch, schedule, [0.5, 1.0, 0.2, 1.0, 1.0, 1.0])
    margins = torch.tensor([0.5 * (1 - 0.25), 0.5 * (0.04 - 1), 0.0], dtype=torch.float64)
    assert found.margin == pytest.approx(float(margins.mean()), abs=1e-9)
    assert found.margin_error == pytest.approx(float(margins.std()) / 3**0.5, abs=1e-9)
    assert found.n == 3
    assert found.noises == 2
    assert list(found.by_t) == [125, 375, 625, 875]


def test_a_better_winner_is_right_and_a_better_loser_wrong(
    make_batch: Make, schedule: NoiseSchedule
) -> None:
    right = measured(make_batch, schedule, [0.5, 1.0, 1.0, 0.2])
    assert (right.accuracy, right.decided, right.standard_error) == (1.0, 1.0, 0.0)
    wrong = measured(make_batch, schedule, [1.0, 0.5, 0.2, 1.0])
    assert (wrong.accuracy, wrong.decided) == (0.0, 0.0)
    half = measured(make_batch, schedule, [0.5, 1.0, 0.2, 1.0])
    assert half.accuracy == 0.5
    assert half.standard_error == pytest.approx(0.5)


def test_a_policy_equal_to_its_reference_is_at_chance(
    make_batch: Make, schedule: NoiseSchedule, make_net: Callable[..., object]
) -> None:
    net = make_net()
    found = implicit_accuracy(
        Nets(policy=net, reference=net), schedule, [make_batch(5)], steps=(10, 500)
    )
    assert (found.accuracy, found.decided, found.margin) == (0.5, 0.5, 0.0)


def test_batches_and_their_order_do_not_matter(
    make_batch: Make, schedule: NoiseSchedule, make_net: Callable[..., object]
) -> None:
    nets = Nets(policy=make_net(1), reference=make_net(2))
    batch = make_batch(4)

    def part(rows: list[int]) -> PreferenceBatch:
        return PreferenceBatch(
            latents=batch.latents[rows],
            cond=batch.cond.map(lambda tensor: tensor[rows]),
            score=batch.score[rows],
            positions=batch.positions[rows],
        )

    whole = implicit_accuracy(nets, schedule, [batch], steps=(100, 700))
    split = implicit_accuracy(
        nets, schedule, [part([2, 3]), part([0]), part([1])], steps=(100, 700)
    )
    assert split.accuracy == whole.accuracy
    assert split.margin == pytest.approx(whole.margin, abs=1e-12)
    assert split.standard_error == pytest.approx(whole.standard_error, abs=1e-12)


def test_the_grid_is_fixed_by_the_seed_and_covers_the_schedule(
    make_batch: Make, schedule: NoiseSchedule, make_net: Callable[..., object]
) -> None:
    nets = Nets(policy=make_net(1), reference=make_net(2))
    once = implicit_accuracy(nets, schedule, [make_batch(3)], steps=(500,), seed=1)
    assert once == implicit_accuracy(nets, schedule, [make_batch(3)], steps=(500,), seed=1)
    assert once.margin != implicit_accuracy(nets, schedule, [make_batch(3)], steps=(500,)).margin
    assert grid_steps(1000, 10) == (50, 150, 250, 350, 450, 550, 650, 750, 850, 950)
    assert grid_steps(4, 4) == (0, 1, 2, 3)


def test_images_of_a_prompt_share_their_noise(make_batch: Make, schedule: NoiseSchedule) -> None:
    batch = make_batch(1)
    seen: list[Tensor] = []

    def net(x_t: Tensor, t: Tensor, cond: Conditioning, /) -> Tensor:
        del cond
        seen.append(schedule.noise_between(batch.latents.flatten(0, 1), x_t, t))
        return torch.zeros_like(x_t)

    implicit_accuracy(Nets(policy=net, reference=net), schedule, [batch], steps=(400,), noises=1)
    expected = Draws(0, batch.positions).normal("implicit/0", tuple(batch.latents.shape[2:]))[0]
    assert torch.allclose(seen[0], expected.double().expand(2, -1, -1, -1), atol=1e-9)


def test_ties_are_left_out_and_only_ties_are_refused(
    make_batch: Make, schedule: NoiseSchedule, make_net: Callable[..., object]
) -> None:
    batch = make_batch(3)
    batch.score[1] = 0.5
    kept = untied(batch)
    assert kept is not None
    assert kept.positions.tolist() == [batch.positions[0], batch.positions[2]]
    nets = Nets(policy=make_net(1), reference=make_net(2))
    assert implicit_accuracy(nets, schedule, [batch], steps=(500,)).n == 2
    batch.score[:] = 1.0
    with pytest.raises(DataError, match="all are ties"):
        implicit_accuracy(nets, schedule, [batch], steps=(500,))


def test_the_standard_error_is_the_textbook_one() -> None:
    assert standard_error(torch.tensor([1.0, 2.0, 3.0, 4.0]).double()) == pytest.approx(
        (5 / 3) ** 0.5 / 2
    )
    assert standard_error(torch.tensor([1.0])) == 0.0
