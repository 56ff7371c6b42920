"""Two gloo processes learn online what one process learns: the same items, in the same windows."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from diffpref.config import RunConfig, dump_config
from diffpref.draws import Draws
from diffpref.models import load_bundle
from diffpref.run.execute import execute
from diffpref.run.rollouts.asked import Prompts
from diffpref.run.rollouts.rounds import Round, Rounds
from diffpref.run.rollouts.source import Rollouts
from diffpref.run.rollouts.tally import Tally
from diffpref.types import Nets
from tests.run.launched import launch
from tests.run.test_resume import final, lines

Make = Callable[..., RunConfig]

SHARED: dict[str, Any] = {
    "model__dtype": "fp64",
    "rollout__prompts_per_round": 4,
    "rollout__per_step": 6,
    "optimizer__weight_decay": 0.1,
}


def _launched(config: RunConfig, out: Path, *more: str) -> None:
    path = out.with_suffix(".yaml")
    path.write_text(dump_config(config))
    launch(["torch.distributed.run", "--nproc_per_node=2"], path, out, *more)
    assert json.loads((out / "env.json").read_text())["processes"] == 2


@pytest.mark.parametrize(
    ("method", "changes"),
    [
        # a filter by the gaps' standard deviation, windows across rounds, several passes
        ("tailorpo", {"method__min_gap": 0.5, "loop__rows_per_pass": 2}),
        pytest.param("ddpo", {}, marks=pytest.mark.slow),
        pytest.param("nft", {"rollout__sampler": {"kind": "ema"}}, marks=pytest.mark.slow),
        pytest.param("d3po", {}, marks=pytest.mark.slow),
        pytest.param("draft", {}, marks=pytest.mark.slow),
        pytest.param("diffusion_kto", {}, marks=pytest.mark.slow),
    ],
)
def test_two_processes_learn_online_what_one_learns(
    online: Make, tmp_path: Path, method: str, changes: dict[str, Any]
) -> None:
    config = online(method, **{**SHARED, **changes})
    execute(config, tmp_path / "one")
    _launched(config, tmp_path / "two")
    mine, theirs = final(tmp_path / "one"), final(tmp_path / "two")
    assert mine.keys() == theirs.keys()
    assert max(float((mine[name] - theirs[name]).abs().max()) for name in mine) < 1e-10
    for one, other in zip(lines(tmp_path / "one"), lines(tmp_path / "two"), strict=True):
        assert one.keys() == other.keys()
        for name in ("loss", "grad_norm"):
            assert one[name] == pytest.approx(other[name], rel=1e-6, abs=1e-9)
        for name in one:
            if name.startswith(("rollout/", "calls/")):
                assert one[name] == pytest.approx(other[name], rel=1e-6), name


@pytest.mark.slow
def test_two_processes_go_on_in_the_middle_of_a_round_as_one_process_does(
    online: Make, tmp_path: Path
) -> None:
    execute(online("ddpo", **SHARED), tmp_path / "one")
    assert next(iter(_rounds(tmp_path / "one"))).windows > 3, "the cut falls between rounds"
    _launched(online("ddpo", **SHARED, loop__steps=2), tmp_path / "two")
    _launched(online("ddpo", **SHARED), tmp_path / "two", "--resume", "auto")
    mine, theirs = final(tmp_path / "one"), final(tmp_path / "two")
    assert max(float((mine[name] - theirs[name]).abs().max()) for name in mine) < 1e-10
    told = [lines(tmp_path / name) for name in ("one", "two")]
    counts = [[line["calls/unet_learning"] for line in run] for run in told]
    assert counts[0] == counts[1]
    assert len(_rounds(tmp_path / "two")) == 1


def _rounds(run: Path) -> list[Round]:
    rounds = Rounds(folder=run / "rollouts", keep=9)
    return [rounds.read(number) for number in rounds.numbers()]


class Numbered:
    """A maker whose items are numbers: three of every prompt, each with a gap of its own."""

    kind = "numbers"
    reads = ("numbers",)
    k = 3
    counted = "numbers"

    def make(self, net: Any, batch: Any, draws: Draws, /) -> dict[str, torch.Tensor]:
        del net, batch
        asked = draws.positions.repeat(3)  # by step, then prompt, as rollouts come
        number = asked * 3 + torch.arange(3).repeat_interleave(len(draws.positions))
        gap = (number * 7 % 11).double()
        return {"asked": asked, "number": number, "gap": gap, "reward": gap}

    def chosen(self, items: dict[str, torch.Tensor], /) -> torch.Tensor:
        return (items["gap"] > items["gap"].std()).nonzero()[:, 0]

    def window(self, items: dict[str, torch.Tensor], positions: torch.Tensor, /) -> Any:
        return list(zip(items["number"].tolist(), positions.tolist(), strict=True))


@pytest.fixture(scope="module")
def asked(base: Path) -> Prompts:
    texts = tuple(f"a thing number {i}" for i in range(5))
    bundle = load_bundle(str(base), dtype="fp32", device="cpu")
    return Prompts(texts=texts, bundle=bundle, seed=0, per_round=8, height=64, width=64)


def _nobody(x: torch.Tensor, t: torch.Tensor, cond: Any, /) -> torch.Tensor:
    del t, cond
    return x


def _windows(
    asked: Prompts, folder: Path, *, world: int, at_once: int, rank: int = 0, passes: int = 2
) -> list[list[tuple[int, int]]]:
    """Return the windows one process gets, its peers' items given to it by `gather`."""
    calls = 0

    def gather(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        if tensor.dtype == torch.float32:  # the barrier before the first round
            return tensor
        number, name = divmod(calls, 4)
        calls += 1
        others = [
            Numbered().make(None, None, Draws(0, asked.of_round(number, rank=r, world=world)))
            for r in range(world)
        ]
        return torch.cat([list(each.values())[name] for each in others])

    rollouts = Rollouts(
        prompts=asked,
        maker=Numbered(),
        rounds=Rounds(folder=folder, keep=9),
        sampler=_nobody,
        seed=0,
        per_step=8,
        passes=passes,
        at_once=at_once,
        tally=Tally(),
        cost=lambda items: items,
        gather=gather,
        rank=rank,
        world=world,
    )
    made = rollouts(Nets(policy=_nobody, reference=None), 0)
    return [next(made) for _ in range(9)]


@pytest.mark.parametrize("world", [1, 2, 4])
def test_what_is_chosen_and_its_window_and_place_do_not_depend_on_the_processes_or_the_batch(
    asked: Prompts, tmp_path: Path, world: int
) -> None:
    wanted = _windows(asked, tmp_path / "one", world=1, at_once=8)
    shares = [
        _windows(asked, tmp_path / f"{world}-{rank}", world=world, at_once=1, rank=rank)
        for rank in range(world)
    ]
    for alone, *parts in zip(wanted, *shares, strict=True):
        assert {len(part) for part in parts} == {len(alone) // world}
        assert sorted(each for part in parts for each in part) == sorted(alone)


@pytest.mark.parametrize("passes", [1, 2, 3])
def test_a_round_gives_every_item_as_often_as_passes_say_give_or_take_one(
    asked: Prompts, tmp_path: Path, passes: int
) -> None:
    windows = _windows(asked, tmp_path / "run", world=1, at_once=8, passes=passes)
    made: Round = Rounds(folder=tmp_path / "run", keep=9).read(0)
    seen = [number for window in windows[: made.windows] for number, _ in window]
    counts = [seen.count(int(number)) for number in made.items["number"]]
    assert sum(counts) == len(seen) > 0
    assert passes - 1 <= min(counts) <= max(counts) <= passes + 1
    places = [place for window in windows for _, place in window]
    assert len(set(places)) == len(places), "two draws shared a position"
