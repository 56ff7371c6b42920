"""Progress when nobody looks at a terminal: plain lines, few of them, on stderr alone."""

import re
import time

import pytest

from diffpref.cli.progress import PLAIN_EVERY, progress_bars


def test_without_a_terminal_there_are_plain_lines_and_no_escape_codes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [time.monotonic()]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    with progress_bars() as bar:
        tell = bar("training", "steps")
        for done in range(1, 101):
            clock[0] += 1.0
            tell(done, 100, "loss 0.6931")
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert len(lines) == 100 / PLAIN_EVERY
    first = r"training: 1[01] of 100 steps, 1\.00 steps/s, (90|89) s left  loss 0\.6931"
    assert re.fullmatch(first, lines[0])
    assert lines[-1].startswith("training: 100 of 100 steps")
    assert not {"\x1b", "\r", "\b"} & set(err)


def test_a_terminal_that_wants_no_colour_gets_none(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich then takes any stream for a terminal
    monkeypatch.setenv("NO_COLOR", "1")
    with progress_bars() as bar:
        bar("training", "steps")(3, 3)
    _, err = capsys.readouterr()
    assert "training" in err
    assert not any(f"\x1b[{colour}" in err for colour in ("31", "32", "33", "34", "35", "36", "38"))
