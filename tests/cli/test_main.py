"""The shell of the command line: dispatch, errors, exit codes."""

import errno
import sys
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from diffpref import __version__
from diffpref.cli import VERBS, main
from diffpref.errors import ConfigError, DiffprefError, Preempted

Verb = Callable[[Callable[[list[str]], None]], None]


@pytest.fixture
def verb(monkeypatch: pytest.MonkeyPatch) -> Verb:
    """Return a function that makes `diffpref try` run the given function of its arguments."""

    def install(body: Callable[[list[str]], None]) -> None:
        module = SimpleNamespace(app=lambda args, **_: body(args))
        monkeypatch.setitem(sys.modules, "diffpref_verb_of_this_test", module)
        monkeypatch.setitem(VERBS, "try", ("diffpref_verb_of_this_test", "A verb of this test."))

    return install


def fail_with(error: BaseException) -> Callable[[list[str]], None]:
    def body(_: list[str]) -> None:
        raise error

    return body


def test_help_names_every_verb_and_goes_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out, err = capsys.readouterr()
    assert [verb for verb in VERBS if f"  {verb} " not in out] == []
    assert err == ""


def test_no_verb_shows_the_help_but_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "Usage: diffpref VERB" in capsys.readouterr().out


def test_version_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"diffpref {__version__}\n"


def test_an_unknown_verb_gives_the_nearest_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["docter"]) == 2
    assert "docter: there is no such verb\n  did you mean 'doctor'?" in capsys.readouterr().err


def test_an_unknown_option_gives_the_nearest_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--jsn"]) == 2
    assert "--json" in capsys.readouterr().err


@pytest.mark.parametrize("kind", [*DiffprefError.__subclasses__(), DiffprefError])
def test_an_error_of_the_user_becomes_its_message_and_exit_code(
    kind: type[DiffprefError], verb: Verb, capsys: pytest.CaptureFixture[str]
) -> None:
    verb(fail_with(kind("it is wrong", where="run.yaml:3", hint="write it right")))
    assert main(["try"]) == kind.exit_code
    out, err = capsys.readouterr()
    assert err == "diffpref: error: run.yaml:3: it is wrong\n  write it right\n"
    assert out == ""


def test_the_exit_codes_are_the_documented_ones() -> None:
    codes = sorted(kind.exit_code for kind in DiffprefError.__subclasses__())
    assert codes == [2, 3, 4, 5, 6, 7, 8, 9, 10, 75]


def test_debug_shows_the_traceback_of_a_user_error_too(
    verb: Verb, capsys: pytest.CaptureFixture[str]
) -> None:
    verb(fail_with(ConfigError("it is wrong")))
    assert main(["try", "--debug"]) == 3
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_debug_is_not_passed_on_to_the_verb(verb: Verb) -> None:
    seen: list[list[str]] = []
    verb(seen.append)
    assert main(["try", "--debug", "a", "--b"]) == 0
    assert seen == [["a", "--b"]]


def test_an_unexpected_error_is_called_a_bug_without_a_traceback(
    verb: Verb, capsys: pytest.CaptureFixture[str]
) -> None:
    verb(fail_with(KeyError("x")))
    assert main(["try"]) == 1
    err = capsys.readouterr().err
    assert "internal error: KeyError: 'x'" in err
    assert "this is a bug in diffpref" in err
    assert "--debug" in err
    assert "Traceback" not in err


def test_debug_shows_the_traceback_of_a_bug(verb: Verb, capsys: pytest.CaptureFixture[str]) -> None:
    verb(fail_with(KeyError("x")))
    assert main(["--debug", "try"]) == 1
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_a_full_disk_is_an_error_of_its_own(verb: Verb, capsys: pytest.CaptureFixture[str]) -> None:
    verb(fail_with(OSError(errno.ENOSPC, "No space left on device", "runs/x/state.json")))
    assert main(["try"]) == 10
    assert "runs/x/state.json: the disk is full" in capsys.readouterr().err


def test_ctrl_c_exits_130_and_a_preempted_run_75(verb: Verb) -> None:
    verb(fail_with(KeyboardInterrupt()))
    assert main(["try"]) == 130
    verb(fail_with(Preempted("stopped")))
    assert main(["try"]) == 75


@pytest.mark.parametrize(("raised", "code"), [(None, 0), (0, 0), (7, 7), ("no", 1)])
def test_the_exit_code_of_a_verb_is_passed_on(
    raised: int | str | None, code: int, verb: Verb
) -> None:
    verb(fail_with(SystemExit(raised)))
    assert main(["try"]) == code


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ["score", "a.png", "--dtyp", "fp32"],
            "--dtyp: there is no such option\n  did you mean '--",
        ),
        (
            ["score", "a.png", "--dtype", "fp64"],
            "--dtype: 'fp64' is not a choice\n  did you mean '",
        ),
        (["train-reward", "x", "--out", "y", "--head", "lores"], "did you mean 'lore'? Choices: "),
        (
            ["train-reward", "x", "--out", "y", "--label-smoothing", "0.7"],
            "--label-smoothing: input should be less than or equal to 0.49\n  give a number from 0",
        ),
        (["train-reward", "x", "--out", "y", "--groups", "0"], "give a number of at least 1"),
        (["train-reward", "x", "--out"], "diffpref train-reward: Option '--out' requires an arg"),
        (
            ["score"],
            "diffpref score: IMAGE...: is missing\n  Files or folders. `diffpref score --help`",
        ),
        (["train-reward", "x"], "diffpref train-reward: --out: is missing\n  The folder of"),
        (["methods", "show"], "diffpref methods show: METHOD: is missing\n"),
        (["methods", "sho"], "did you mean 'show'"),
        (["scorers", "where", "a", "b"], "`diffpref scorers where --help` explains"),
        (
            ["train-reward", "x", "--out", "y", "--seed", "abc"],
            "--seed: input should be a valid integer",
        ),
    ],
)
def test_a_wrong_command_line_is_told_as_every_mistake_and_exits_2(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert err.startswith("diffpref: error: ")
    assert told.lower() in err.lower()
    assert err.count("\n") == 2
    assert out == ""


def test_help_of_a_verb_and_its_own_exit_codes_stay(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", "--help"]) == 0
    assert "Usage: diffpref score" in capsys.readouterr().out
    assert main(["config"]) == 2
    assert "Usage: diffpref config" in "".join(capsys.readouterr())
