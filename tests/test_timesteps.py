"""Which step each prompt is trained at."""

import pytest
import torch

from diffpref.draws import Draws
from diffpref.errors import ConfigError
from diffpref.timesteps import discrete, uniform

DRAWS = Draws(seed=0, positions=torch.arange(2000))


def test_uniform_covers_all_steps_evenly() -> None:
    t = uniform()(DRAWS, 10)
    counts = torch.bincount(t, minlength=10)
    assert len(counts) == 10
    assert int(counts.min()) > 150
    assert int(counts.max()) < 250


def test_uniform_can_be_limited_to_a_range() -> None:
    t = uniform(low=3, high=5)(DRAWS, 1000)
    assert set(t.tolist()) == {3, 4}
    assert set(uniform(low=8)(DRAWS, 10).tolist()) == {8, 9}


def test_discrete_draws_only_the_listed_steps_evenly() -> None:
    t = discrete(steps=(249, 499, 749, 999))(DRAWS, 1000)
    assert set(t.tolist()) == {249, 499, 749, 999}
    assert all(400 < int((t == step).sum()) < 600 for step in (249, 499, 749, 999))


def test_a_prompt_keeps_its_step_in_any_batch() -> None:
    few = Draws(seed=0, positions=torch.tensor([77, 5]))
    for sampler in (uniform(), uniform(low=100, high=200), discrete(steps=(1, 5, 9))):
        assert sampler(few, 1000).tolist() == [int(sampler(DRAWS, 1000)[i]) for i in (77, 5)]


def test_impossible_samplers_are_refused_when_made() -> None:
    for low, high in ((5, 5), (-1, None), (7, 3)):
        with pytest.raises(ValueError, match="low < high"):
            uniform(low=low, high=high)
    for steps in ((), (-1, 4)):
        with pytest.raises(ValueError, match="at least one step"):
            discrete(steps=steps)


def test_steps_beyond_the_schedule_are_refused_by_name() -> None:
    for sampler in (uniform(low=0, high=11), uniform(low=10), discrete(steps=(3, 10))):
        with pytest.raises(ConfigError, match=r"parts\.timesteps.*0\.\.9"):
            sampler(DRAWS, 10)
