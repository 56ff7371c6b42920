"""`diffpref rate`, in process: what the command line says and does around the page."""

import json
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from diffpref.cli import main
from diffpref.rate import serve as serve_module
from diffpref.rate.pool import Pool
from diffpref.rate.session import Session
from diffpref.users import load_profile
from tests.rate.conftest import draw, lines

Drive = Callable[[Session], None]


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Callable[[Drive], list[str]]:
    """Return what puts a function in the place of the browser; it gives the links told."""

    def put(drive: Drive) -> list[str]:
        links: list[str] = []

        def serve(
            session: Session, bound: socket.socket, host: str, told: Callable[[str], None]
        ) -> None:
            del host
            told("http://127.0.0.1:1/?token=x")
            links.append(str(bound.getsockname()))
            drive(session)
            bound.close()

        monkeypatch.setattr(serve_module, "serve", serve)
        return links

    return put


def answering(*choices: str, finish: bool = False) -> Drive:
    def drive(session: Session) -> None:
        for choice in choices:
            while (state := session.state())["question"] is None:
                assert state["making"], state
            session.answer(state["question"]["nonce"], choice)
        if finish:
            session.pool.wait()
            session.finish()

    return drive


def run(capsys: pytest.CaptureFixture[str], *args: str | Path) -> tuple[int, Any, str]:
    code = main(["rate", *map(str, args), "--port", "0", "--json"])
    captured = capsys.readouterr()
    return code, json.loads(captured.out) if captured.out else {}, captured.err


def test_a_folder_is_rated_and_a_profile_kept_beside_the_votes(
    page: Callable[[Drive], list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw(tmp_path / "pictures")
    out, cache = tmp_path / "out", ("--cache", tmp_path / "cache")
    page(answering("left", "right", "tie", "skip"))
    where = (tmp_path / "pictures", "--out", out, *cache)
    code, found, err = run(capsys, *where)
    assert (code, found["votes"], found["ties"], found["skipped"]) == (0, 3, 1, 1)
    assert "rate here: http://127.0.0.1:" in err
    assert load_profile(out / "me.profile").pairs == 3
    page(answering("left", finish=True))
    code, found, _ = run(capsys, *where)
    assert (code, found["votes"]) == (0, 4)
    assert load_profile(out / "me.profile").pairs == 4
    assert main(["data", "inspect", str(out)]) == 0
    fitted = tmp_path / "fitted.profile"
    assert main(["profile", "fit", str(out), "-o", str(fitted), *map(str, cache)]) == 0
    assert load_profile(fitted).sha256 == load_profile(out / "me.profile").sha256


def test_two_people_have_a_profile_each(
    page: Callable[[Drive], list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw(tmp_path / "pictures")
    page(answering("left"))
    for user in ("ana", "../b n"):
        where = ("--out", tmp_path / "out", "--cache", tmp_path / "cache")
        assert run(capsys, tmp_path / "pictures", "--user", user, *where)[0] == 0
    names = sorted(path.name for path in (tmp_path / "out").glob("*.profile"))
    assert names[1] == "ana.profile"
    assert names[0].startswith("---b-n-")
    assert [row["user"] for row in lines(tmp_path / "out")] == ["ana", "../b n"]


def test_somebody_elses_profile_is_not_replaced(
    page: Callable[[Drive], list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw(tmp_path / "pictures")
    page(answering())
    mine = tmp_path / "mine.profile"
    mine.write_bytes(b"precious")
    code, _, err = run(capsys, tmp_path / "pictures", "--out", tmp_path / "out", "--profile", mine)
    assert code == 2
    assert "--profile" in err
    assert mine.read_bytes() == b"precious"


def test_pictures_are_made_while_they_are_rated(
    page: Callable[[Drive], list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts = tmp_path / "mine.txt"
    prompts.write_text("two red circles\nsome red triangles\ntwo squares\na circle\na star\n")
    page(answering("left", "right", "left", "left", "left", "left", "left", "left"))
    how = ("--steps", "2", "--images-per-prompt", "3", "--pairs", "0")
    where = ("--out", tmp_path / "out", "--cache", tmp_path / "cache")
    code, found, _ = run(capsys, "--generate", "--prompts", prompts, *how, *where)
    assert (code, found["votes"]) == (0, 8)
    assert {
        Path(each).parent.name for row in lines(tmp_path / "out") for each in row["images"]
    } == {"samples"}
    assert {row["source"] for row in lines(tmp_path / "out")} == {"base"}
    assert not (tmp_path / "out" / "images").exists()


def test_what_is_being_made_at_the_end_is_stopped_and_goes_on_later(
    page: Callable[[Drive], list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A process that ended while its threads sample would abort."""
    pools: list[Pool] = []
    page(lambda session: pools.append(session.pool))
    where = ("--out", tmp_path / "out", "--no-profile", "--steps", "2", "--limit", "60")
    code, found, _ = run(capsys, "--generate", *where)
    assert (code, found["votes"]) == (0, 0)
    assert not pools[0].growing
    made = len(list((tmp_path / "out" / "samples").glob("*.png")))
    assert made < 60 * 4
    page(answering("left"))
    assert run(capsys, "--generate", *where)[1]["votes"] == 1


def test_show_me_makes_the_best_of_many_by_the_profile(
    page: Callable[[Drive], list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw(tmp_path / "pictures")
    seen: list[dict[str, Any]] = []

    def drive(session: Session) -> None:
        answering("left", "right", "left", "left")(session)
        session.show("two red circles")
        while (state := session.state())["show"]["busy"]:
            continue
        seen.append(state["show"])

    page(drive)
    where = ("--out", tmp_path / "out", "--cache", tmp_path / "cache", "--steps", "2")
    assert run(capsys, tmp_path / "pictures", "--model", "builtin:base", *where)[0] == 0
    mine, plain = seen[0]["rows"]
    assert (len(mine["pictures"]), len(plain["pictures"])) == (4, 4)
    assert "best 4 of 16" in mine["title"]
    assert (seen[0]["fault"], seen[0]["done"], seen[0]["pairs"]) == (None, 16, 4)


def test_a_study_tells_nothing_before_its_end_and_the_same_again_after_it(
    page: Callable[[Drive], list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = ("--compare", "builtin:base", "builtin:base", "--limit", "4", "--steps", "2")
    study += ("--out", str(tmp_path))
    page(answering())
    code, found, _ = run(capsys, *study)
    assert (code, found["finished"], found["votes"]) == (0, False, 0)
    assert "rate" not in found
    page(answering(finish=True))
    code, found, _ = run(capsys, *study)
    assert (code, found["same"], found["rate"]) == (0, 4, None)
    links = page(answering())
    code, again, err = run(capsys, *study)
    assert (code, again) == (0, found)
    assert "this study is over" in err
    assert links == []


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ((), "say what to rate"),
        (("pictures", "--generate"), "one thing at a time"),
        (("--compare", "a", "b", "--model", "c"), "has no place in a study"),
        (("pictures", "--prompts", "x.txt"), "--prompt or --prompts-from"),
        (("--generate", "--host", "0.0.0.0"), "ssh -L"),
        (("--generate", "--seeds", "x"), "'x' is not a whole number"),
    ],
)
def test_what_cannot_be_is_said_with_what_to_do(
    args: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, _, err = run(capsys, *args, "--out", tmp_path / "out")
    assert code == 2
    assert words in err
    assert not (tmp_path / "out").exists()


def test_listening_for_others_is_said_out_loud(
    page: Callable[[Drive], list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw(tmp_path / "pictures")
    page(answering())
    where = ("--out", tmp_path / "out", "--no-profile")
    host = ("--host", "0.0.0.0", "--expose")
    code, _, err = run(capsys, tmp_path / "pictures", *where, *host)
    assert code == 0
    assert "others can reach this page" in err


def test_without_the_extra_one_line_says_how_to_install_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from diffpref.cli import rate

    monkeypatch.setattr(rate, "find_spec", lambda name: None if name == "uvicorn" else name)
    code, _, err = run(capsys, tmp_path, "--out", tmp_path / "out")
    assert code == 2
    assert "needs uvicorn" in err
    assert "pip install 'diffpref[ui]'" in err


def test_help_imports_no_web_server(capsys: pytest.CaptureFixture[str]) -> None:
    before = set(sys.modules)
    assert main(["rate", "--help"]) == 0
    out = capsys.readouterr().out
    assert "diffpref rate --compare" in out
    new = {name.partition(".")[0] for name in set(sys.modules) - before}
    assert not new & {"starlette", "uvicorn"}


def test_a_taken_port_is_said_and_another_is_found_unless_it_was_asked_for() -> None:
    from diffpref.errors import UsageError
    from diffpref.rate.serve import PORT, listen

    one = listen("127.0.0.1", None)
    two = listen("127.0.0.1", None)
    assert two.getsockname()[1] != one.getsockname()[1] or one.getsockname()[1] != PORT
    with pytest.raises(UsageError, match="cannot listen"):
        listen("127.0.0.1", one.getsockname()[1])
    one.close()
    two.close()
