"""Somebody new to the bundled world: votes by their taste, with their noise; pools and choices."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from diffpref.data.readers import open_records
from diffpref.data.records import Record
from diffpref.evaluate.compare import Images, Progress, Subject
from diffpref.evaluate.newcomer import JUDGE, Shown, newcomer, true_judge, vote
from diffpref.evaluate.pictures import png, to_bytes
from diffpref.evaluate.pool import Pool, comparison_of, draw_pool, rate_of
from diffpref.world.captions import parse
from diffpref.world.crowd import bundled_crowd
from diffpref.world.people import utility
from diffpref.world.render import render
from diffpref.world.scene import sample_scenes

PROMPTS = ("two red circles", "one blue square on the left", "three small triangles")


def world(prompts: Sequence[str], *, seed: int, positions: Sequence[int]) -> Images:
    scenes = sample_scenes(seed, torch.tensor(list(positions)), [parse(text) for text in prompts])
    return render(scenes)


def sampled(
    prompts: Sequence[str], *, seed: int, positions: Sequence[int], on_progress: Progress | None
) -> Images:
    if on_progress is not None:
        on_progress(len(prompts), None)
    return world(prompts, seed=seed, positions=positions)


SUBJECT = Subject(name="renderer", sample=sampled)


@pytest.fixture(scope="module")
def pool() -> Pool:
    return draw_pool(SUBJECT, PROMPTS, seed=3, n=4)


def test_nobody_met_the_newcomer_and_they_are_always_the_same() -> None:
    tastes = torch.stack([person.taste for person in bundled_crowd().values()])
    person = newcomer()
    assert not bool((tastes == person.taste).all(dim=1).any())
    assert torch.equal(newcomer().taste, person.taste)
    assert not torch.equal(newcomer(1).taste, person.taste)


def test_the_true_judge_is_the_utility_of_the_person(pool: Pool) -> None:
    person, images = newcomer(), pool.pixels[:, 0].float() / 255
    found = true_judge(person).score(images, list(PROMPTS))
    torch.testing.assert_close(found.values, utility(images, PROMPTS, person.taste))
    assert true_judge(person).info.id == JUDGE
    assert not torch.allclose(found.values, utility(images, PROMPTS))


def test_votes_follow_the_persons_utility_except_for_their_noise(tmp_path: Path) -> None:
    person, pairs, better = newcomer(), list[tuple[Shown, Shown]](), list[bool]()
    texts = PROMPTS * 40
    ones, twos = (world(texts, seed=seed, positions=range(len(texts))) for seed in (5, 6))
    for number, text in enumerate(texts):
        shown = []
        for name, pixels in (("a", ones), ("b", twos)):
            file = tmp_path / f"{number}{name}.png"
            file.write_bytes(png(to_bytes(pixels[number])))
            shown.append(Shown(file=file, prompt=text))
        pairs.append((shown[0], shown[1]))
        both = torch.stack([ones[number], twos[number]])
        worth = utility(both, (text, text), person.taste)
        better.append(bool(worth[0] > worth[1]))
    path = vote(person, pairs, tmp_path / "votes", seed=0)
    rows = [row for row in open_records(str(path)).rows() if isinstance(row, Record)]
    assert len(rows) == len(pairs)
    assert all(row.user is None for row in rows)
    agreed = [(row.scores[0] > 0.5) == each for row, each in zip(rows, better, strict=True)]
    assert 0.7 < sum(agreed) / len(agreed) < 1


def test_the_best_of_a_pool_is_chosen_by_the_score_and_wins_by_it(pool: Pool) -> None:
    judge = true_judge(newcomer())
    scores = pool.scores(judge)
    best = pool.best(scores)
    for p in range(len(PROMPTS)):
        assert torch.equal(best[p], pool.pixels[p, int(scores[p].argmax())])
    rate = rate_of(judge, best, pool.best(-scores), PROMPTS)
    assert (rate.rate, rate.n) == (1.0, 3)
    same = rate_of(judge, best, best, PROMPTS)
    assert same.rate == 0.5


def test_finished_pictures_are_a_comparison_as_the_report_reads_it(pool: Pool) -> None:
    judge = true_judge(newcomer())
    ours = (Subject(name="mine", sample=sampled, facts={"profile": "1"}), pool.pixels[:, 1])
    theirs = (Subject(name="base", sample=sampled), pool.pixels[:, 0])
    found = comparison_of([judge], ours, theirs, PROMPTS, seed=3, shown=2)
    assert found.images.shape[:3] == (2, 2, 1)
    assert torch.equal(found.images[0, 1, 0], pool.pixels[1, 1])
    assert found.rates[JUDGE] == rate_of(judge, ours[1], theirs[1], PROMPTS)
