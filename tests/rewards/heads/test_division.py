"""Nobody and nothing of the test is seen in training, however the votes are divided."""

from dataclasses import replace

import pytest
import torch

from diffpref.rewards.heads.division import By, Division, divide
from diffpref.rewards.heads.pairs import NOBODY, Pairs
from tests.rewards.heads.conftest import pairs_of, unit

PEOPLE, PROMPTS = 60, 80


@pytest.fixture(scope="module")
def votes() -> Pairs:
    rng = torch.Generator().manual_seed(0)
    count = 2400
    index = torch.stack(
        [
            torch.randint(0, PROMPTS, (count,), generator=rng),
            torch.randint(0, 20, (count,), generator=rng),
            torch.randint(20, 40, (count,), generator=rng),
        ],
        dim=1,
    )
    person = torch.randint(0, PEOPLE, (count,), generator=rng)
    return pairs_of(unit(rng, 40), unit(rng, PROMPTS), index, person, torch.ones(count), PEOPLE)


def rows(pairs: Pairs) -> set[tuple[int, ...]]:
    columns = (pairs.prompt, pairs.first, pairs.second, pairs.person)
    return set(zip(*(column.tolist() for column in columns), strict=True))


def check_whole(division: Division, votes: Pairs) -> None:
    found = [division.train, division.validation, division.support, division.test]
    assert sum(map(len, found)) == len(votes)
    assert set().union(*map(rows, found)) == rows(votes)


def test_by_user_the_test_holds_new_people_and_support_votes_on_other_prompts(
    votes: Pairs,
) -> None:
    division = divide(votes, ["train"] * len(votes), "user")
    check_whole(division, votes)
    new = set(division.test.voters())
    assert new
    assert not new & set(division.train.voters())
    assert not new & set(division.validation.voters())
    assert set(division.support.voters()) == new
    assert not set(division.test.prompt.tolist()) & set(division.support.prompt.tolist())
    assert set(division.validation.voters()) <= set(division.train.voters())
    assert 0.1 < len(new) / PEOPLE < 0.35


def test_by_prompt_the_test_holds_new_prompts_of_known_people(votes: Pairs) -> None:
    division = divide(votes, ["train"] * len(votes), "prompt")
    check_whole(division, votes)
    parts = [set(each.prompt.tolist()) for each in (division.train, division.validation)]
    tested = set(division.test.prompt.tolist())
    assert len(division.support) == 0
    assert not tested & (parts[0] | parts[1])
    assert not parts[0] & parts[1]
    assert set(division.test.voters()) <= set(division.train.voters())


def own_parts(names: torch.Tensor) -> list[str]:
    return [("train", "validation", "test")[min(int(name) % 4, 2)] for name in names]


@pytest.mark.parametrize("by", ["user", "prompt"])
def test_a_source_that_is_divided_already_keeps_its_parts(votes: Pairs, by: By) -> None:
    column = votes.person if by == "user" else votes.prompt
    parts = own_parts(column)
    division = divide(votes, parts, by)
    check_whole(division, votes)
    at = dict(zip(column.tolist(), parts, strict=True))
    tested = division.test.person if by == "user" else division.test.prompt
    assert {at[name] for name in tested.tolist()} == {"test"}
    train = division.train.person if by == "user" else division.train.prompt
    assert {at[name] for name in train.tolist()} == (
        {"train", "validation"} if by == "user" else {"train", "validation", "test"}
    )
    assert not set(division.test.prompt.tolist()) & set(division.support.prompt.tolist())
    if by == "prompt":
        assert not set(tested.tolist()) & set(train.tolist())


def test_parts_that_share_people_are_divided_anew(votes: Pairs) -> None:
    mixed = [("train", "validation", "test")[n % 3] for n in range(len(votes))]
    anew, plain = divide(votes, mixed, "user"), divide(votes, ["train"] * len(votes), "user")
    assert rows(anew.test) == rows(plain.test)


def test_votes_of_unknown_people_are_only_trained_on(votes: Pairs) -> None:
    unknown = torch.arange(len(votes)) % 7 == 0
    some = replace(votes, person=torch.where(unknown, NOBODY, votes.person))
    division = divide(some, ["train"] * len(votes), "user")
    assert NOBODY in division.train.person.tolist()
    for other in (division.validation, division.support, division.test):
        assert NOBODY not in other.person.tolist()
