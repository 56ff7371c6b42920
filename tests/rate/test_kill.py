"""A real server is killed without warning: no answer that was acknowledged is lost."""

import http.client
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from diffpref.rate.book import VIEW, Book
from diffpref.rate.plan import Plan
from diffpref.rate.pool import Pool
from diffpref.rate.session import Session
from tests.rate.conftest import Server, draw, lines, pairs_of


@contextmanager
def running(pictures: Path, out: Path) -> Iterator[tuple[subprocess.Popen[str], Server]]:
    """Start `diffpref rate` as a user would."""
    command = [sys.executable, "-m", "diffpref", "rate", str(pictures), "--out", str(out)]
    process = subprocess.Popen(
        [*command, "--no-profile", "--port", "0", "--pairs", "0"],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    try:
        told = "".join(_until_link(process))
        yield process, Server(link=re.findall(r"http\S+", told)[0])
    finally:
        process.kill()
        process.communicate()


def _until_link(process: subprocess.Popen[str]) -> Iterator[str]:
    assert process.stderr is not None
    for line in process.stderr:
        yield line
        if "token=" in line:
            return
    raise AssertionError("the server ended before it gave a link")


def answer_until_gone(
    server: Server, choices: random.Random, began: threading.Event
) -> dict[str, str]:
    """Answer as fast as possible; return what was acknowledged."""
    given: dict[str, str] = {}
    link = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    try:
        cookie = server.cookie()
        headers = {"cookie": cookie, "origin": server.origin, "content-type": "application/json"}
        link.request("GET", "/api/state", headers={"cookie": cookie})
        state = json.loads(link.getresponse().read())
        while state["question"] is not None:
            nonce, choice = state["question"]["nonce"], choices.choice(["left", "right", "skip"])
            body = json.dumps({"nonce": nonce, "choice": choice})
            link.request("POST", "/api/answer", body=body, headers=headers)
            state = json.loads(link.getresponse().read())
            given[nonce] = choice
            began.set()
    except (OSError, http.client.HTTPException):
        pass
    finally:
        link.close()
    return given


def check_kill(tmp_path: Path, seed: int) -> int:
    """Kill a server at a random moment; return how many answers it had acknowledged."""
    rng = random.Random(seed)
    drawn, out = draw(tmp_path / "pictures", count=60), tmp_path / "out"
    with running(tmp_path / "pictures", out) as (process, server):
        began, delay = threading.Event(), rng.uniform(0, 0.4)

        def kill() -> None:
            began.wait(20)
            time.sleep(delay)
            process.send_signal(signal.SIGKILL)

        killer = threading.Thread(target=kill)
        killer.start()
        given = answer_until_gone(server, rng, began)
        killer.join()
        process.wait()
    book = Book(out)
    stored = {each.nonce: each for each in book.mine()}
    assert given.keys() <= stored.keys()
    assert len(stored) - len(given) <= 1
    assert all(stored[nonce].skipped == (given[nonce] == "skip") for nonce in given)
    votes = [each for each in book.mine() if not each.skipped]
    assert len((out / VIEW).read_text().splitlines() if votes else []) == len(votes)
    pool = Pool()
    pool.add(pairs_of(drawn))
    session = Session(book, pool, Plan())
    assert session.state()["progress"]["answered"] == len(votes)
    session.answer(session.state()["question"]["nonce"], "left")
    assert lines(out)[-1]["scores"]
    book.close()
    return len(given)


def test_no_acknowledged_answer_is_lost_when_the_server_is_killed(
    tmp_path: Path, count: Callable[[str, int], None]
) -> None:
    assert check_kill(tmp_path, seed=1) > 0
    count("kills of the rating page", 1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 51))
def test_no_acknowledged_answer_is_lost_at_forty_nine_other_moments(
    tmp_path: Path, seed: int, count: Callable[[str, int], None]
) -> None:
    check_kill(tmp_path, seed)
    count("kills of the rating page", 1)


@pytest.mark.slow
def test_ctrl_c_says_what_was_stored_and_how_to_go_on(tmp_path: Path) -> None:
    draw(tmp_path / "pictures")
    out = tmp_path / "out"
    with running(tmp_path / "pictures", out) as (process, server):
        state = json.loads(server.ask("GET", "/api/state", cookie=server.cookie())[2])
        server.post("/api/answer", {"nonce": state["question"]["nonce"], "choice": "tie"})
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    assert len(lines(out)) == 1
