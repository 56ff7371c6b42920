"""Randomness is a function of (seed, position, image, stream) and of nothing else."""

import torch

from diffpref.draws import Draws, permutation

RECORDED_T = [521, 526]
RECORDED_NOISE = [[-1.4466, 0.17042], [-0.166087, 3.073676]]
"""Scheme 1. A change here means rng_scheme must be bumped: old runs would not resume."""


def test_a_row_does_not_depend_on_the_batch_it_is_drawn_in() -> None:
    whole = Draws(seed=5, positions=torch.tensor([9, 2, 40, 7]))
    part = Draws(seed=5, positions=torch.tensor([40]))
    assert torch.equal(whole.normal("noise", (2, 3))[2:3], part.normal("noise", (2, 3)))
    assert torch.equal(whole.integers("t", 0, 1000)[2:3], part.integers("t", 0, 1000))
    assert torch.equal(whole.uniform("drop")[2:3], part.uniform("drop"))


def test_the_order_of_calls_does_not_matter() -> None:
    draws = Draws(seed=1, positions=torch.arange(3))
    first = draws.normal("noise", (4,)), draws.integers("t", 0, 1000)
    second_t = draws.integers("t", 0, 1000)
    assert torch.equal(first[0], draws.normal("noise", (4,)))
    assert torch.equal(first[1], second_t)


def test_the_global_generator_is_neither_read_nor_moved() -> None:
    draws = Draws(seed=1, positions=torch.arange(3))
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = draws.normal("noise", (4,))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    assert torch.equal(draws.normal("noise", (4,)), first)


def test_seed_position_stream_and_image_each_change_the_numbers() -> None:
    draws = Draws(seed=0, positions=torch.tensor([1, 2]))
    noise = draws.normal("noise", (8,))
    assert not torch.equal(noise[0], noise[1])
    assert not torch.equal(noise, draws.normal("posterior", (8,)))
    assert not torch.equal(noise, Draws(seed=1, positions=draws.positions).normal("noise", (8,)))
    images = draws.normal("noise", (8,), images=2)
    assert images.shape == (2, 2, 8)
    assert not torch.equal(images[:, 0], images[:, 1])


def test_draws_have_the_moments_they_claim() -> None:
    draws = Draws(seed=3, positions=torch.arange(500))
    noise = draws.normal("noise", (64,))
    assert abs(float(noise.mean())) < 0.02
    assert abs(float(noise.var()) - 1) < 0.03
    assert abs(float(draws.uniform("drop").mean()) - 0.5) < 0.05
    t = draws.integers("t", 10, 20)
    assert set(t.tolist()) == set(range(10, 20))


def test_an_epoch_is_a_permutation_and_epochs_differ() -> None:
    first, second = permutation(0, 0, 100), permutation(0, 1, 100)
    assert sorted(first.tolist()) == list(range(100))
    assert not torch.equal(first, second)
    assert torch.equal(first, permutation(0, 0, 100))


def test_the_scheme_is_pinned_to_recorded_numbers() -> None:
    draws = Draws(seed=0, positions=torch.tensor([0, 1]))
    assert draws.integers("t", 0, 1000).tolist() == RECORDED_T
    assert torch.allclose(draws.normal("noise", (2,)), torch.tensor(RECORDED_NOISE), atol=1e-6)
