"""Online runs: every method trains, resumes inside a round exactly, and says when it cannot."""

from collections.abc import Callable
from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import Any

import pytest
import torch

from diffpref.config import RunConfig
from diffpref.errors import CheckpointError, ConfigError, DataError
from diffpref.run.execute import execute
from diffpref.run.rollouts.rounds import Rounds
from diffpref.run.watch import Watch
from diffpref.users.prior_file import find_prior
from diffpref.users.profile import null_profile
from diffpref.users.profile_file import save_profile
from tests.models.conftest import write_sdxl
from tests.run.online import METHODS
from tests.run.test_resume import Killed, assert_same, final, kill_at, lines

Make = Callable[..., RunConfig]


@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_online(online: Make, tmp_path: Path, method: str) -> None:
    execute(online(method), tmp_path / "run")
    told = lines(tmp_path / "run")
    assert [line["step"] for line in told] == [1, 2, 3]
    assert all(line["grad_norm"] > 0 for line in told)
    assert told[-1]["calls/reward"] > 0
    moved = final(tmp_path / "run")
    assert any(bool(value.abs().max() > 0) for name, value in moved.items() if "lora_B" in name)


@pytest.mark.parametrize(
    ("method", "sampler"), [("tailorpo", "policy"), ("ddpo", "policy"), ("nft", "ema")]
)
def test_a_run_killed_inside_a_round_and_resumed_is_the_uninterrupted_run(
    online: Make, tmp_path: Path, method: str, sampler: str
) -> None:
    config = online(
        method,
        loop__steps=4,
        rollout__per_step=2,
        rollout__prompts_per_round=3,
        rollout__sampler={"kind": sampler},
    )
    whole = tmp_path / "whole"
    execute(config, whole)
    windows = {made.windows for made in _rounds(whole)}
    assert max(windows) > 1, "no cut would fall inside a round"
    for step in (2, 3):
        cut = tmp_path / f"cut-{step}"
        with pytest.raises(Killed):
            execute(config, cut, watch=kill_at(step))
        execute(config, cut, resume="auto")
        assert_same(whole, cut)


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("method", ["tailorpo-g", "ddpo", "draft"])
def test_sdxl_trains_online_with_guidance(
    online: Make, tmp_path: Path, method: str, dtype: str
) -> None:
    base = write_sdxl(tmp_path / "sdxl")
    execute(online(method, model__base=str(base), model__dtype=dtype), tmp_path / "run")
    assert all(line["grad_norm"] > 0 for line in lines(tmp_path / "run"))


def _rounds(run: Path) -> list[Any]:
    rounds = Rounds(folder=run / "rollouts", keep=99)
    return [rounds.read(number) for number in rounds.numbers()]


def test_a_filter_nothing_passes_leaves_the_parameters_alone_and_says_so(
    online: Make, tmp_path: Path
) -> None:
    said: list[str] = []
    config = online(method__min_gap=1e9)
    with pytest.raises(DataError, match="gave no items to learn from"):
        execute(config, tmp_path / "run", watch=Watch(say=said.append))
    assert any("no items passed the filter" in sentence for sentence in said)
    assert not list((tmp_path / "run" / "checkpoints").glob("step-*"))


def test_frozen_rounds_are_learned_from_again_without_sampling(
    online: Make, tmp_path: Path
) -> None:
    execute(online(), tmp_path / "first")
    config = online(rollout__frozen=str(tmp_path / "first" / "rollouts"), loop__steps=7)
    execute(config, tmp_path / "again")
    told = lines(tmp_path / "again")
    assert len(told) == 7
    assert told[0]["loss"] == lines(tmp_path / "first")[0]["loss"]
    assert told[-1]["calls/unet"] == 0


def test_rounds_of_a_forgotten_past_are_refused(online: Make, tmp_path: Path) -> None:
    config = online(loop__steps=4, rollout__per_step=2)
    with pytest.raises(Killed):
        execute(config, tmp_path / "run", watch=kill_at(3))
    for path in (tmp_path / "run" / "rollouts").iterdir():
        path.unlink()
    with pytest.raises(CheckpointError, match="rollouts before step 2 are gone"):
        execute(config, tmp_path / "run", resume="auto")


def test_calls_are_counted_as_the_analysis_says(online: Make, tmp_path: Path) -> None:
    """k T rows of the network per prompt, twice with guidance, less the first and last states."""
    execute(online(loop__steps=1), tmp_path / "run")
    (line,) = lines(tmp_path / "run")
    prompts, steps, k, plain, guidance = 2, 4, 2, 1, 2
    judged = steps - plain - 1  # the last step is not judged
    rows = plain + 1 + judged * k  # one call at each plain step and at the first judged one
    assert line["calls/unet"] == prompts * guidance * rows
    passed = len(_rounds(tmp_path / "run")[0])
    assert line["calls/unet_learning"] == guidance * (3 + 1) * min(4, 2 * ceil(passed / 2))
    assert line["calls/reward"] == line["calls/vae"] == prompts * judged * k


def test_moved_winners_cost_a_pass_forward_and_backward_and_one_anew(
    online: Make, tmp_path: Path
) -> None:
    execute(online("tailorpo-g", loop__steps=1), tmp_path / "run")
    (line,) = lines(tmp_path / "run")
    prompts, k, plain, judged, guidance = 2, 2, 1, 2, 2
    anew = judged  # the continued winner is not the candidate that was predicted on
    assert line["calls/unet"] == prompts * guidance * (plain + 1 + judged * (k + 3) + anew)
    assert line["calls/reward"] == line["calls/vae"] == prompts * judged * (k + 1)


def test_the_sampler_needs_no_wrapper_and_the_reward_no_gradient(
    online: Make, tmp_path: Path
) -> None:
    execute(online(reward__scorer="jpeg-size"), tmp_path / "run")
    assert len(lines(tmp_path / "run")) == 3


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"reward": None}, "nobody judges"),
        ({"rollout": None}, "learns from the policy's own samples"),
        ({"data": {"source": "builtin:pairs"}}, "one of data and rollout"),
        ({"reference": {"kind": "moving", "budget": 1.0}}, "budget is measured on data"),
        ({"reference": {"kind": "none"}}, "reference"),
        ({"rollout__eta": 0}, "with eta 0 there is none"),
        ({"method__start": 0.95}, "none of 4 steps is left to be judged"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(
    online: Make, changes: dict[str, Any], told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        online(**changes)


def test_walks_of_one_step_that_is_left_out_are_refused(online: Make) -> None:
    with pytest.raises(ConfigError, match="the only step is left out"):
        online("ddpo", rollout__steps=1, method__drop_last=True)


def test_a_run_without_anything_to_learn_from_is_refused(online: Make) -> None:
    with pytest.raises(ConfigError, match="nothing to learn from"):
        online("diffusion_dpo", rollout=None, reward=None)


def test_a_method_of_rewards_gradients_refuses_a_reward_without(
    online: Make, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="differentiates a reward"):
        execute(online("draft", reward__scorer="jpeg-size"), tmp_path / "run")


def test_the_rewards_zero_and_unit_are_the_untrained_policys(online: Make, tmp_path: Path) -> None:
    execute(online(rollout__prompts_per_round=4, loop__steps=1), tmp_path / "run")
    items = _rounds(tmp_path / "run")[0].items
    assert float(items["reward"].abs().max()) < 5
    assert torch.isfinite(items["reward"]).all()


def test_more_steps_than_the_schedule_has_are_refused(online: Make, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"rollout\.steps: 1001 steps are not possible"):
        execute(online(rollout__steps=1001), tmp_path / "run")


def test_a_persons_profile_is_a_reward_and_the_opposite_taste_ranks_the_other_way(
    online: Make, tmp_path: Path
) -> None:
    prior = find_prior("bt-world")
    nobody = null_profile(prior)
    mean = torch.linspace(-1, 1, len(nobody.belief.mean)).float().double()
    items: list[dict[str, torch.Tensor]] = []
    for name, sign in (("one", 1), ("other", -1)):
        path = tmp_path / f"{name}.profile"
        save_profile(path, replace(nobody, belief=replace(nobody.belief, mean=sign * mean)))
        changes = {"reward__scorer": f"profile:{path}", "reward__standardise": 0}
        execute(online("plackett_luce", **changes), tmp_path / name)
        assert all(line["grad_norm"] > 0 for line in lines(tmp_path / name))
        items.append(dict(_rounds(tmp_path / name)[0].items))
    one, other = items
    assert torch.equal(one["latents"], other["latents"])
    assert float(one["gap"].min()) > 0
    assert torch.allclose(one["score"], -other["score"], atol=1e-5)


def test_step_pairs_learn_from_a_persons_profile_and_its_gradient(
    online: Make, tmp_path: Path
) -> None:
    path = tmp_path / "me.profile"
    profile = null_profile(find_prior("bt-world"))
    mean = torch.linspace(-1, 1, len(profile.belief.mean)).float().double()
    save_profile(path, replace(profile, belief=replace(profile.belief, mean=mean)))
    execute(online("tailorpo-g", reward__scorer=f"profile:{path}"), tmp_path / "run")
    told = lines(tmp_path / "run")
    assert len(told) == 3
    assert all(line["grad_norm"] > 0 and line["rollout/gap"] > 0 for line in told)
