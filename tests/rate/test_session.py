"""What the page is told, step by step, without a page."""

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from diffpref.errors import DataError, DiskError
from diffpref.io import Journal
from diffpref.rate.book import Book
from diffpref.rate.pair import Pair
from diffpref.rate.plan import Plan, Refused
from diffpref.rate.pool import Pool, every_two
from diffpref.rate.rerank import in_order
from diffpref.rate.session import Session
from diffpref.rate.show import Row, Tell
from diffpref.rate.taste import Taste
from diffpref.rewards.heads.embeddings import EmbeddingStore
from diffpref.users import Prior, UserProfile, fit_profile
from diffpref.users.questions import best_pairs
from diffpref.users.read import read_person
from tests.rate.conftest import lines
from tests.rate.test_asking import made_up

Make = Callable[..., Session]


def give(session: Session, *choices: str) -> dict[str, Any]:
    state = session.state()
    for choice in choices:
        state = session.answer(state["question"]["nonce"], choice)
    return state


def test_answers_are_journal_lines_and_a_skip_is_not_a_vote(
    new_session: Make, tmp_path: Path
) -> None:
    session = new_session()
    state = give(session, "left", "skip", "tie")
    assert state["progress"] == {"answered": 2, "skipped": 1, "goal": None, "total": 9}
    rows = lines(tmp_path / "out")
    assert ["scores" in row for row in rows] == [True, False, True]
    assert rows[0]["scores"][rows[0]["left"]] == 1
    assert rows[2]["scores"] == [0.5, 0.5]


def test_the_same_answer_twice_counts_once_and_another_one_is_refused(
    new_session: Make, tmp_path: Path
) -> None:
    session = new_session()
    nonce = session.state()["question"]["nonce"]
    after = session.answer(nonce, "left")
    assert session.answer(nonce, "left")["question"] == after["question"]
    with pytest.raises(Refused, match="answered already"):
        session.answer(nonce, "right")
    with pytest.raises(Refused):
        session.answer("0123456789abcdef", "left")
    with pytest.raises(Refused):
        session.answer(after["question"]["nonce"], "both")
    assert len(lines(tmp_path / "out")) == 1


def test_undo_asks_the_same_pair_again_with_the_same_sides(new_session: Make) -> None:
    session = new_session()
    first = session.state()["question"]
    state = session.answer(first["nonce"], "right")
    state = session.undo(state["undo"])
    again = state["question"]
    assert {k: again[k] for k in ("prompt", "left", "right")} == {
        k: first[k] for k in ("prompt", "left", "right")
    }
    assert again["nonce"] != first["nonce"]
    assert state["undo"] is None
    with pytest.raises(Refused):
        session.undo(first["nonce"])


def test_undo_reaches_back_through_earlier_sessions(new_session: Make) -> None:
    give(new_session(), "left", "right", "skip")
    session = new_session()
    state = session.state()
    for left in (2, 1, 0):
        state = session.undo(state["undo"])
        assert len(session.book.mine()) == left
    assert state["undo"] is None


def test_a_session_goes_on_where_the_last_one_ended(new_session: Make, pairs: list[Pair]) -> None:
    give(new_session(), "left", "skip", "tie")
    session = new_session()
    assert session.state()["progress"]["answered"] == 2
    state = give(session, *["right"] * 6)
    assert state["question"] is None
    assert {each.pair for each in session.book.mine()} == {pair.id for pair in pairs}


def test_another_person_is_asked_everything(new_session: Make) -> None:
    give(new_session(user="ana"), "left", "right")
    assert new_session(user="ben").state()["progress"]["answered"] == 0


def test_the_goal_is_a_rest_and_not_the_end(new_session: Make) -> None:
    session = new_session(Plan(goal=2))
    state = give(session, "left", "skip", "left")
    assert (state["question"], state["result"]) == (None, None)
    assert session.more()["progress"]["goal"] == 4
    state = give(session, "left", "left")
    assert state["question"] is None


def test_after_the_end_nothing_is_taken(new_session: Make, tmp_path: Path) -> None:
    session = new_session(Plan(result=lambda entries: {"votes": len(entries)}))
    state = give(session, "left")
    nonce = state["question"]["nonce"]
    assert session.finish()["result"] == {"votes": 1}
    assert session.state()["undo"] is None
    for action in (lambda: session.answer(nonce, "left"), lambda: session.undo(state["undo"])):
        with pytest.raises(Refused):
            action()
    assert len(lines(tmp_path / "out")) == 1


def test_an_answer_that_is_not_stored_stays_on_the_page(
    new_session: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = new_session()
    before = session.state()

    def full(*_: object) -> None:
        raise DiskError("the disk is full")

    monkeypatch.setattr(Journal, "append", full)
    with pytest.raises(DiskError):
        session.answer(before["question"]["nonce"], "left")
    monkeypatch.undo()
    assert session.state() == before
    assert session.answer(before["question"]["nonce"], "left")["progress"]["answered"] == 1


@pytest.mark.parametrize(
    ("pictures", "answers"), [(16, 120), pytest.param(46, 1035, marks=pytest.mark.slow)]
)
def test_many_answers_at_once_are_one_line_each(
    tmp_path: Path, pictures: int, answers: int, count: Callable[[str, int], None]
) -> None:
    """Eight windows ask and answer as fast as they can; what was accepted is in the journal."""
    pool = Pool()
    pool.add(list(every_two([("a", made_up(pictures))], seed=0)))
    session = Session(Book(tmp_path), pool, Plan())
    accepted: list[str] = []

    def work() -> None:
        while (question := session.state()["question"]) is not None:
            try:
                session.answer(question["nonce"], "skip")
                accepted.append(question["nonce"])
            except Refused:
                continue

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    written = [row["nonce"] for row in lines(tmp_path)]
    assert len(written) == len(set(written)) == answers
    assert set(accepted) == set(written)
    count("answers given at once", answers)


def test_the_next_pair_is_the_one_that_profile_ask_would_name(
    new_session: Make,
    new_taste: Callable[[], Taste],
    new_store: Callable[[], EmbeddingStore],
    pairs: list[Pair],
) -> None:
    profiles: list[UserProfile] = []
    session = new_session(Plan(learned=profiles.append), taste=new_taste())
    store = new_store()
    left = {pair.id: pair for pair in pairs}
    for choice in ("left", "right", "tie", "left"):
        question = session.state()["question"]
        worth = {name: _bits(profiles[-1], pair, store) for name, pair in left.items()}
        assert question["bits"] == pytest.approx(max(worth.values()), abs=1e-6)
        session.answer(question["nonce"], choice)
        asked = session.book.mine()[-1].pair
        assert worth[asked] == pytest.approx(question["bits"], abs=1e-6)
        del left[asked]
    assert len({round(bits, 6) for bits in worth.values()}) > 1


def _bits(profile: UserProfile, pair: Pair, store: EmbeddingStore) -> float:
    """Return what `profile ask` says of the two pictures of one pair."""
    files = [each.content for each in pair.pictures if isinstance(each.content, Path)]
    return best_pairs(profile, files, dict.fromkeys(files, pair.prompt), store, 1)[0][2].bits


def test_the_live_profile_is_the_one_that_profile_fit_makes_of_the_folder(
    new_session: Make,
    new_taste: Callable[[], Taste],
    new_store: Callable[[], EmbeddingStore],
    prior: Prior,
    tmp_path: Path,
) -> None:
    profiles: list[UserProfile] = []
    session = new_session(Plan(learned=profiles.append), taste=new_taste())
    assert session.state()["profile"]["pairs"] == 0
    state = give(session, "left", "right", "tie", "skip", "left")
    assert state["profile"]["pairs"] == 4
    session.undo(state["undo"])
    told = read_person(prior, str(tmp_path / "out"), new_store())
    wanted = fit_profile(prior, told.votes, keep=True)
    assert profiles[-1].sha256 == wanted.sha256
    assert profiles[-1].words == wanted.words
    assert profiles[-1].left_out == wanted.left_out
    again = new_session(Plan(learned=profiles.append), taste=new_taste())
    assert again.state()["profile"]["pairs"] == 3
    assert profiles[-1].sha256 == wanted.sha256


def test_a_vote_whose_picture_is_gone_is_left_out_of_the_profile_and_kept(
    new_session: Make,
    new_taste: Callable[[], Taste],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    give(new_session(taste=new_taste()), "left", "right")
    gone = lines(tmp_path / "out")[0]["images"][0]
    kept = [gone not in row["images"] for row in lines(tmp_path / "out")]
    (tmp_path / "out" / gone).unlink()
    session = new_session(taste=new_taste())
    assert session.state()["profile"]["pairs"] == sum(kept)
    assert len(session.book.mine()) == 2
    assert "is not learned from" in caplog.text


class Painter:
    """A `Show` that waits to be let on."""

    def __init__(self, fault: Exception | None = None) -> None:
        self.go, self.fault, self.seen = threading.Event(), fault, list[tuple[int, str]]()

    def __call__(self, profile: UserProfile, prompt: str, tell: Tell, /) -> Sequence[Row]:
        self.seen.append((profile.pairs, prompt))
        tell(1, 2)
        assert self.go.wait(20)
        if self.fault is not None:
            raise self.fault
        return [Row(title="For you", pictures=[Image.new("RGB", (4, 4), (0, 200, 0))])]


def shown(session: Session) -> dict[str, Any]:
    until = time.monotonic() + 20
    while (found := session.state()["show"])["busy"] and time.monotonic() < until:
        time.sleep(0.01)
    return found


def test_pictures_are_made_for_the_profile_of_that_moment_while_rating_goes_on(
    new_session: Make, new_taste: Callable[[], Taste]
) -> None:
    paint = Painter()
    session = new_session(taste=new_taste(), show=paint)
    give(session, "left", "right")
    state = session.show("two red circles")
    assert state["show"]["busy"]
    with pytest.raises(Refused, match="already"):
        session.show("again")
    assert give(session, "left")["progress"]["answered"] == 3
    paint.go.set()
    found = shown(session)
    assert (found["pairs"], found["prompt"], found["fault"]) == (2, "two red circles", None)
    assert paint.seen == [(2, "two red circles")]
    name = found["rows"][0]["pictures"][0].removeprefix("image/")
    assert (session.gallery.shot(name) or b"").startswith(b"\x89PNG")
    session.show("more")
    shown(session)
    assert session.gallery.shot(name) is None


def test_a_model_that_fails_says_so_and_can_be_asked_again(
    new_session: Make, new_taste: Callable[[], Taste]
) -> None:
    paint = Painter(DataError("is too large", where="--model"))
    session = new_session(taste=new_taste(), show=paint)
    paint.go.set()
    session.show("a")
    assert shown(session)["fault"] == "--model: is too large"
    assert session.show("b")["show"] is not None


def test_without_a_model_or_a_profile_there_is_no_button(
    new_session: Make, new_taste: Callable[[], Taste]
) -> None:
    assert new_session(show=Painter()).state()["show"] is None
    session = new_session(taste=new_taste())
    assert session.state()["show"] is None
    with pytest.raises(Refused):
        session.show("a")


def test_the_best_come_first_and_equals_in_their_order() -> None:
    assert in_order(torch.tensor([0.1, 0.7, 0.3, 0.7])) == [1, 3, 2, 0]
