"""Guards of online runs: who else judges, how far is too far, and what a run must begin with."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from diffpref.config import RunConfig
from diffpref.draws import Draws
from diffpref.errors import ConfigError
from diffpref.evaluate.opened import Place
from diffpref.evaluate.runs import base_of_run, open_run
from diffpref.models import Bundle, make_denoiser
from diffpref.run.assemble import Assembled
from diffpref.run.execute import execute
from diffpref.run.first_update import first_update, moved
from diffpref.run.fsdp import fsdp_plugin
from diffpref.run.header import header
from diffpref.run.rollouts.asked import Prompts
from diffpref.run.rollouts.rounds import Rounds
from diffpref.run.watch import Watch
from diffpref.train.store import Store
from diffpref.types import Conditioning
from tests.run.test_resume import lines

Make = Callable[..., RunConfig]
LORA = "pytorch_lora_weights.safetensors"


@pytest.fixture
def watched(online: Make, tmp_path: Path) -> Make:
    """Return a maker of online runs that are validated after every step."""
    prompts = tmp_path / "held-out.txt"
    prompts.write_text("two red circles\none blue square\nsome hollow things\n")

    def make(**changes: Any) -> RunConfig:
        evaluate = {"every": 1, "prompts": str(prompts), "steps": 2, "scorers": ["warmth"]}
        evaluate |= changes.pop("evaluate", {})
        return online(evaluate=evaluate, save={"every": 100}, **changes)

    return make


def test_a_run_beyond_its_drift_ends_and_gives_the_last_weights_within_it(
    watched: Make, tmp_path: Path
) -> None:
    execute(watched(loop__steps=3), tmp_path / "free")
    measured = {
        line["step"]: line["drift/low_level"]
        for line in lines(tmp_path / "free")
        if "drift/low_level" in line
    }
    assert list(measured) == [1, 2, 3]
    limit = measured[1]
    ends = next(step for step in measured if measured[step] > limit)
    said: list[str] = []
    config = watched(loop__steps=3, evaluate={"max_drift": {"low_level": limit}})
    execute(config, tmp_path / "held", watch=Watch(say=said.append))
    steps = [line["step"] for line in lines(tmp_path / "held")]
    assert max(steps) == ends
    assert sum("beyond evaluate.max_drift" in sentence for sentence in said) == 1
    store = Store(tmp_path / "held" / "checkpoints")
    kept, newest = store.best(), store.latest()
    assert kept is not None
    assert newest is not None
    assert (kept.step, newest.step) == (ends - 1, ends)
    execute(watched(loop__steps=ends - 1), tmp_path / "short")
    exported = (tmp_path / "held" / LORA).read_bytes()
    assert exported == (tmp_path / "short" / LORA).read_bytes()

    execute(config, tmp_path / "held", resume="auto", watch=Watch(say=said.append))
    assert [line["step"] for line in lines(tmp_path / "held")] == steps
    assert any("ended early" in sentence for sentence in said)
    assert (tmp_path / "held" / LORA).read_bytes() == exported


def test_a_run_that_is_too_far_from_its_first_validation_on_says_so(
    watched: Make, tmp_path: Path
) -> None:
    said: list[str] = []
    config = watched(loop__steps=2, evaluate={"max_drift": {"low_level": 1e-12}})
    execute(config, tmp_path / "run", watch=Watch(say=said.append))
    assert max(line["step"] for line in lines(tmp_path / "run")) == 1
    assert any("no validation was within the limit" in sentence for sentence in said)
    assert (tmp_path / "run" / LORA).is_file()
    assert open_run(tmp_path / "run", Place(), 1.0).name == "run"


@pytest.mark.parametrize(
    ("evaluate", "told"),
    [
        ({"max_drift": {"untouched": 1.0}}, "no drift is called 'untouched'"),
        ({"max_drift": {"low_level": 1.0}, "n": 1}, "one image has no drift"),
    ],
)
def test_a_limit_on_what_is_not_measured_is_refused(
    watched: Make, evaluate: dict[str, Any], told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        watched(evaluate=evaluate)


@pytest.mark.parametrize(
    ("scorers", "alone"), [(None, True), (["brightness"], True), (["brightness", "warmth"], False)]
)
def test_the_header_says_when_nobody_but_the_reward_judges(
    online: Make, tmp_path: Path, scorers: list[str] | None, alone: bool
) -> None:
    said: list[str] = []
    config = online(evaluate=None if scorers is None else {"every": 9, "scorers": scorers})

    class Enough(BaseException):
        """Nothing is trained here."""

    def assembled(run: Assembled) -> None:
        said.extend(header(run))
        raise Enough

    with pytest.raises(Enough):
        execute(config, tmp_path / "run", watch=Watch(assembled=assembled))
    assert any("nobody but the reward judges" in line for line in said) == alone


def test_a_first_step_that_does_not_begin_at_0_is_told_with_its_likely_cause() -> None:
    def told(name: str, value: float, dtype: torch.dtype) -> str | None:
        return moved({"loss": torch.ones(2), name: torch.tensor([0.0, -value])}, dtype)

    assert told("log_ratio", 1e-4, torch.float32) is None
    assert told("log_ratio", 1e-4, torch.float64) is not None
    assert told("step_kl", 0.01, torch.bfloat16) is None
    assert "batch shape or dtype" in str(told("margin", 0.01, torch.float32))
    assert told("step_kl", float("nan"), torch.float32) is not None


@pytest.mark.parametrize("method", ["tailorpo", "ddpo"])
def test_rollouts_of_another_network_are_noticed_at_the_first_step_and_only_there(
    online: Make, tmp_path: Path, method: str
) -> None:
    said: list[str] = []
    runs: list[Assembled] = []
    watch = Watch(say=said.append, assembled=runs.append)
    execute(online(method, loop__steps=1), tmp_path / "run", watch=watch)
    assert said == []
    (run,) = runs
    name = "margin" if method == "tailorpo" else "log_ratio"
    measured = first_update(run, said.append)
    measured(1, {name: torch.ones(2)})
    assert said == []
    measured(0, {name: torch.ones(2)})
    assert len(said) == 1


def test_rollouts_and_shared_weights_do_not_go_together(
    online: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    config = online(adapter={"kind": "full"}, reference={"kind": "frozen"})
    with pytest.raises(ConfigError, match="rollouts sample with whole weights"):
        fsdp_plugin(config)


def test_the_reward_of_a_run_reads_decoded_images_predicted_at_the_candidates_own_level(
    online: Make, tmp_path: Path
) -> None:
    """Every pair of a written round is judged again from its seeds, by hand and one by one."""
    config = online(
        model__dtype="fp64",
        loop__steps=1,
        reward__standardise=0,
        method__start=0.0,
        method__skip_last=False,
        method__min_gap=0.0,
    )
    execute(config, tmp_path / "run")
    items = Rounds(folder=tmp_path / "run" / "rollouts", keep=9).read(0).items
    bundle = base_of_run(config, Place())
    assert config.rollout is not None
    texts = tuple(Path(config.rollout.prompts).read_text().splitlines())
    prompts = Prompts(texts=texts, bundle=bundle, seed=0, per_round=2, height=64, width=64)
    levels = sorted({int(t) for t in items["t"]}, reverse=True)
    assert len(levels) == 4
    lasts = 0
    for i in range(len(items["gap"])):
        rewards = {
            name: _by_hand(bundle, prompts, items, i, name, levels) for name in ("winner", "loser")
        }
        gap = rewards["winner"] - rewards["loser"]
        assert float(items["gap"][i]) == pytest.approx(gap, abs=1e-6)
        assert float(items["reward"][i]) == pytest.approx(sum(rewards.values()) / 2, abs=1e-6)
        lasts += int(items["t"][i]) == levels[-1]
    assert lasts > 0, "no pair of the last step was judged"


@torch.no_grad()
def _by_hand(
    bundle: Bundle,
    prompts: Prompts,
    items: Any,
    i: int,
    name: str,
    levels: list[int],
) -> float:
    """Return the brightness of one candidate's image, by the equations of DDIM."""
    asked = items["asked"][i : i + 1]
    batch = prompts.batch(asked)
    assert batch.uncond is not None
    abar = (1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2).cumprod(0)
    net = make_denoiser(bundle.unet.eval(), bundle)

    def predicted(x: Tensor, t: Tensor) -> Tensor:
        def told(cond: Conditioning) -> Tensor:
            return net(x, t[None], cond)

        empty = told(batch.uncond) if batch.uncond is not None else x
        return empty + 2.0 * (told(batch.cond) - empty)  # rollout.guidance

    def clean(x: Tensor, t: Tensor) -> Tensor:
        return (x - (1 - abar[t]).sqrt() * predicted(x, t)) / abar[t].sqrt()

    x_t, t, s = items["x_t"][i : i + 1], items["t"][i], items["s"][i]
    noise = Draws(0, asked).normal(f"rollout/{levels.index(int(t))}", prompts.shape, images=2)
    z = noise[:, int(items[name][i])].double()
    std = ((1 - abar[s]) / (1 - abar[t]) * (1 - abar[t] / abar[s])).sqrt()
    mean = abar[s].sqrt() * clean(x_t, t) + (1 - abar[s] - std**2).sqrt() * predicted(x_t, t)
    x_s = mean + std * z
    judged = x_s if int(t) == levels[-1] else clean(x_s, s)
    red, green, blue = bundle.decode(judged).mean(dim=(0, 2, 3)).tolist()
    return 0.299 * red + 0.587 * green + 0.114 * blue
