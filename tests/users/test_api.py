"""The methods of a profile do what the verbs of the command line do."""

from pathlib import Path

import pytest
import torch

from diffpref.data.readers import open_records
from diffpref.data.records import Record
from diffpref.data.writers import write_jsonl
from diffpref.rewards import load_scorer
from diffpref.rewards.pictures import pil_of
from diffpref.users import UserProfile, Using, find_prior, null_profile


@pytest.fixture(scope="module")
def votes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Using]:
    root = tmp_path_factory.mktemp("votes")
    rows = [
        row
        for row in open_records("builtin:pairs", split="test").rows()
        if isinstance(row, Record) and row.user == "36"
    ]
    write_jsonl(root / "a", rows[:6])
    write_jsonl(root / "b", rows[6:10])
    return root / "a", root / "b", Using(cache=root / "cache", embedder=load_scorer("world-reward"))


def test_update_then_forget_is_the_fit_to_the_first_votes(votes: tuple[Path, Path, Using]) -> None:
    first, more, using = votes
    fitted = UserProfile.fit(first, using=using)
    assert fitted.pairs == 6
    assert fitted.summary()["pairs"] == 6
    both = fitted.update(more, using=using)
    assert both.pairs == 10
    assert both.evidence is not None
    assert fitted.evidence is not None
    new = [each for each in both.evidence.ids if each not in fitted.evidence.ids]
    assert torch.equal(both.forget(new).belief.mean, fitted.belief.mean)
    nobody = null_profile(find_prior("bt-world"))
    half = UserProfile.mix([(fitted, 1.0), (nobody, 1.0)])
    size = len(fitted.embedding) // 2
    expected = fitted.embedding[:size] / 2
    torch.testing.assert_close(half.embedding[:size], expected, rtol=1e-3, atol=1e-4)


def test_its_reward_is_the_log_odds_of_its_own_belief(votes: tuple[Path, Path, Using]) -> None:
    first, _, using = votes
    profile = UserProfile.fit(first, using=using)
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    scores = profile.reward(using.embedder).score(images, ["a", "a"]).values
    assert float((scores[0] - scores[1]).abs()) > 0
    assert torch.equal(profile.reward().score(images, ["a", "a"]).values, scores)


def test_it_asks_for_pairs_of_one_prompt(votes: tuple[Path, Path, Using], tmp_path: Path) -> None:
    first, _, using = votes
    profile = UserProfile.fit(first, using=using)
    files, rng = [], torch.Generator().manual_seed(1)
    for number in range(4):
        files.append(tmp_path / f"{number}.png")
        pil_of(torch.rand(3, 64, 64, generator=rng)).save(files[-1])
    prompts = dict(zip(files, ("a", "a", "b", "b"), strict=True))
    asked = profile.ask(files, n=2, prompts=prompts, using=using)
    assert {frozenset(pair) for pair in asked} == {frozenset(files[:2]), frozenset(files[2:])}
