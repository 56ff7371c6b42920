"""A blind study of two models: what is hidden, what is counted, and the interval."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Lock

import pytest
import torch

from diffpref.errors import DataError
from diffpref.evaluate.opened import Opened
from diffpref.evaluate.subject import open_model
from diffpref.evaluate.winrate import win_rate
from diffpref.models.sample_settings import SampleSettings
from diffpref.rate.book import Book
from diffpref.rate.entries import Entry
from diffpref.rate.plan import Plan
from diffpref.rate.pool import Pool
from diffpref.rate.session import Session
from diffpref.rate.study import Study
from tests.rate.conftest import PROMPTS

MANY = (*PROMPTS, "some red triangles", "two squares", "a small green circle")
SETTINGS = SampleSettings(steps=2, guidance=1.0)


@pytest.fixture(scope="module")
def base() -> Opened:
    return open_model("builtin:base")


@pytest.fixture(scope="module")
def other(base: Opened) -> Opened:
    """The base with a slightly other network, under a name that gives it away."""
    found = open_model("builtin:base")
    rng = torch.Generator().manual_seed(0)
    for weight in found.bundle.unet.parameters():
        weight.data += 0.02 * torch.randn(weight.shape, generator=rng).to(weight)
    return replace(found, name="SECRET-MODEL", facts={**base.facts, "model": "SECRET-MODEL"})


@pytest.fixture
def new_study(base: Opened, other: Opened) -> Callable[..., Study]:
    def make(a: Opened = other, b: Opened = base, seeds: Sequence[int] = (0, 1)) -> Study:
        return Study(a=a, b=b, prompts=MANY, seeds=seeds, settings=SETTINGS)

    return make


def session_of(study: Study, out: Path) -> Session:
    pool = Pool()
    for part in study.pairs(out, lock=Lock(), halted=pool.halted):
        pool.add(part)
    plan = Plan(mode="study", result=lambda entries: study.verdict(entries).plain())
    return Session(Book(out), pool, plan)


def test_the_same_prompts_and_seeds_meet_and_the_first_picture_is_as(
    new_study: Callable[..., Study], tmp_path: Path
) -> None:
    study = new_study()
    session = session_of(study, tmp_path)
    pairs = session.pool.pairs()
    assert len(pairs) == len(MANY) * 2
    for pair in pairs:
        first, second = (Path(str(each.content)) for each in pair.pictures)
        assert (first.parent.name, second.parent.name) == ("a", "b")
        assert first.name == second.name
        assert MANY[int(first.name[:4])] == pair.prompt == MANY[study.places[pair.id]]


def test_nothing_the_page_is_told_tells_the_sides_apart_until_the_end(
    new_study: Callable[..., Study], tmp_path: Path
) -> None:
    session = session_of(new_study(), tmp_path)
    sides: list[int] = []
    while (state := session.state())["question"] is not None:
        told = json.dumps(state)
        for secret in ("SECRET", "study/a", "study/b", "base", "/a/", "/b/", ".png"):
            assert secret not in told
        for side in ("left", "right"):
            name = state["question"][side]["src"].removeprefix("image/")
            shot = session.gallery.shot(name) or b""
            assert b"SECRET" not in shot
            assert b"iTXt" not in shot
        session.answer(state["question"]["nonce"], "left")
        sides.append(int(str(session.book.mine()[-1].row["left"])))
    assert set(sides) == {0, 1}
    assert session.state()["profile"] is None
    assert "SECRET-MODEL" in json.dumps(session.finish())


def test_the_verdict_is_that_of_winrate_on_the_same_outcomes(
    new_study: Callable[..., Study], tmp_path: Path
) -> None:
    study = new_study()
    session = session_of(study, tmp_path)
    rng = torch.Generator().manual_seed(3)
    table = torch.randint(3, (len(MANY), 2), generator=rng).double() / 2
    place = {pair.id: row for row, pair in enumerate(session.pool.pairs())}
    while (state := session.state())["question"] is not None:
        now = session._asked
        assert now is not None
        share = float(table.flatten()[place[now.pair.id]])
        choice = next(each for each in ("left", "right", "tie") if now.shares(each)[0] == share)
        session.answer(state["question"]["nonce"], choice)
    found, wanted = study.verdict(session.book.mine()), win_rate(table, 1 - table)
    assert found.rate == pytest.approx(wanted.rate)
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high))
    assert found.sign_p == pytest.approx(wanted.sign_p)
    total = table.numel()
    assert (found.wins, found.ties, found.losses) == tuple(
        round(total * each) for each in (wanted.win, wanted.tie, wanted.loss)
    )
    assert found.prompts == wanted.n == len(MANY)


def test_equal_pictures_are_ties_nobody_is_asked_about(
    new_study: Callable[..., Study], base: Opened, tmp_path: Path
) -> None:
    study = new_study(a=base)
    session = session_of(study, tmp_path)
    assert len(session.pool) == 0
    found = study.verdict([])
    assert (found.ties, found.same, found.rate) == (12, 12, None)
    assert "are the same" in found.text
    assert (found.a, found.b) == ("base (A)", "base (B)")


def test_ended_early_the_rest_is_not_counted(
    new_study: Callable[..., Study], tmp_path: Path
) -> None:
    study = new_study()
    session = session_of(study, tmp_path)
    study.same += [0, 5]
    for choice in ("left", "skip", "tie"):
        session.answer(session.state()["question"]["nonce"], choice)
    found = study.verdict(session.book.mine())
    assert found.same == 1
    assert found.skipped == 1
    assert found.wins + found.ties + found.losses == 3
    assert "too few" in found.text


def test_after_the_labels_were_shown_no_vote_is_taken_even_later(
    new_study: Callable[..., Study], tmp_path: Path
) -> None:
    study = new_study()
    session = session_of(study, tmp_path)
    state = session.answer(session.state()["question"]["nonce"], "left")
    session.finish()
    session.finish()
    assert (tmp_path / "journal.jsonl").read_text().count("revealed") == 1
    session.book.close()
    assert state["question"] is not None
    later = session_of(new_study(), tmp_path)
    assert later.book.revealed
    assert later.state()["question"] is None


def test_a_folder_holds_one_study(
    new_study: Callable[..., Study], base: Opened, other: Opened, tmp_path: Path
) -> None:
    session_of(new_study(), tmp_path).book.close()
    with pytest.raises(DataError, match="another model") as caught:
        session_of(new_study(a=base, b=other), tmp_path)
    assert "--out" in str(caught.value)


@pytest.mark.parametrize(
    ("shares", "words"),
    [
        ([1.0] * 12, "A is preferred to B beyond chance"),
        ([0.0] * 12, "B is preferred to A beyond chance"),
        ([1.0, 0.0] * 6, "this may be chance"),
        ([1.0] * 3, "3 prompts are too few to tell"),
        ([], "no votes, no verdict"),
    ],
)
def test_the_verdict_in_words(
    new_study: Callable[..., Study], base: Opened, shares: list[float], words: str
) -> None:
    study = new_study(a=replace(base, name="A"), b=replace(base, name="B"))
    study.places |= {f"p{row}": row for row in range(len(shares))}
    votes = [
        Entry(
            nonce=f"n{row}",
            pair=f"p{row}",
            user=None,
            prompt="",
            images=("a", "b"),
            scores=(share, 1 - share),
            row={},
        )
        for row, share in enumerate(shares)
    ]
    assert study.verdict(votes).text.endswith(words)
