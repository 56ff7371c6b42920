"""How the bundled reward is made: nothing held out is seen, and votes follow tastes."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from diffpref.draws import generator
from diffpref.rewards import LoadedScorer, load_scorer
from diffpref.world.captions import parse
from diffpref.world.oracle import fidelity
from diffpref.world.people import people, utility
from diffpref.world.splits import split_of
from scripts.assets_build import reward, reward_data
from scripts.assets_build.stage import Plan


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reward_data, "SCENES", 40)
    monkeypatch.setattr(reward_data, "GROUPS", 12)


@pytest.fixture
def voted() -> reward_data.Voted:
    return reward_data.rendered_votes()


def test_scenes_have_one_true_and_one_wrong_caption_of_the_train_split() -> None:
    scenes = reward_data.captioned_scenes()
    images = scenes.images.float() / 255
    assert {split_of(text) for text in scenes.captions} == {"train"}
    assert float(fidelity(images, tuple(scenes.captions)).mean()) > 0.98
    wrong = fidelity(images, tuple(scenes.wrong_captions))
    assert float((wrong < 1).float().mean()) > 0.95
    told = [split_of(text) == "train" for text in scenes.wrong_captions]
    assert scenes.usable.tolist() == told


def test_a_caption_that_is_true_of_a_scene_is_no_negative_for_it() -> None:
    stated = [parse("two red circles"), parse("some red things"), parse("one red circle")]
    said = reward_data.indices(stated)
    named = reward_data.indices([{**stated[0], "size": "small"}])
    assert reward.true_of(named, said).tolist() == [[True, True, False]]


def test_an_altered_statement_differs_in_exactly_one_attribute() -> None:
    stated = parse("two small red circles on the left")
    rng = generator(0, 0, "test")
    for _ in range(20):
        other = reward_data.altered(stated, rng)
        assert list(other) == list(stated)
        assert sum(other[name] != stated[name] for name in stated) == 1


def test_rendered_votes_are_on_train_prompts_and_all_their_pairs(voted: reward_data.Voted) -> None:
    assert {split_of(prompt) for prompt in voted.prompts} == {"train"}
    assert voted.images.shape == (12, 4, 3, 32, 32)
    assert voted.rows.shape == (12 * 6, 3)
    assert bool((voted.rows[:, 1] < voted.rows[:, 2]).all())
    assert set((voted.share * reward_data.VOTERS).tolist()) <= set(map(float, range(9)))


def test_votes_follow_what_people_like(voted: reward_data.Voted) -> None:
    told = tuple(prompt for prompt in voted.prompts for _ in range(4))
    worth = utility(voted.images.flatten(0, 1).float() / 255, told).view(12, 4)
    prompt, first, second = voted.rows.T
    gap = worth[prompt, first] - worth[prompt, second]
    clear = gap.abs() > 0.5
    agreed = ((voted.share > 0.5) == (gap > 0))[clear & (voted.share != 0.5)]
    assert float(agreed.float().mean()) > 0.85


def test_people_without_noise_vote_as_one() -> None:
    judges = people(0, 5, "clean")
    worth = torch.tensor([[1.0, 0.0]])[:, :, None].expand(1, 2, 5)
    rows = torch.tensor([[0, 0, 1], [0, 1, 0]])
    found = reward_data.vote(worth, rows, judges, generator(0, 0, "test"))
    assert found.tolist() == [1.0, 0.0]


def test_the_oracle_is_always_right_and_its_opposite_never(voted: reward_data.Voted) -> None:
    oracle = load_scorer("world-oracle")

    class Opposite:
        info = oracle.info
        sight = oracle.model.sight

        def judge(self, seen: Tensor, prompts: tuple[str, ...], /) -> Tensor:
            return -oracle.reward(seen, prompts)

        def overlong(self, prompts: list[str], /) -> list[bool]:
            return [False] * len(prompts)

        def to(self, device: object, dtype: object, /) -> "Opposite":
            del device, dtype
            return self

    found = reward.accuracy(oracle, voted.images, voted.prompts)
    assert (found["accuracy"], found["prompts"]) == (1.0, 12.0)
    assert found["pairs"] == len(reward.clean_pairs(voted.images, voted.prompts)) <= 72
    opposite = reward.accuracy(LoadedScorer(Opposite()), voted.images, voted.prompts)
    assert opposite["accuracy"] == 0.0


def test_equal_scores_count_one_half(voted: reward_data.Voted) -> None:
    oracle = load_scorer("world-oracle")
    model = type(oracle.model)(info=oracle.info, measure=lambda pixels, _: torch.zeros(len(pixels)))
    assert reward.accuracy(LoadedScorer(model), voted.images, voted.prompts)["accuracy"] == 0.5


def test_a_few_steps_of_both_halves_give_a_folder_the_scorer_loads(
    voted: reward_data.Voted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reward_data, "bundled_votes", lambda _: voted)
    monkeypatch.setattr(reward, "assets_root", lambda: tmp_path)
    plan = Plan(steps=2, batch=4, lr=1e-3, warmup=1, save_every=1)
    folder = reward.build(tmp_path, first=plan, second=plan)
    scorer = load_scorer("world-reward", weights=str(folder))
    found = scorer.score(voted.images[0].float() / 255, voted.prompts[0]).values
    assert bool(torch.isfinite(found).all())
    assert sum(path.stat().st_size for path in folder.iterdir()) < 2**20
    again = reward.build(tmp_path, first=plan, second=plan)
    resumed = load_scorer("world-reward", weights=str(again))
    assert resumed.info.weights == scorer.info.weights
