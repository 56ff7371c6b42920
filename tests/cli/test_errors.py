"""Every error says what to do; every code has its cause, its remedy and its place on the page."""

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from diffpref import errors
from diffpref.cli.exit_codes import EXIT_CODES
from diffpref.data.records import RowCode
from diffpref.errors import DiffprefError
from diffpref.io.codes import ImageCode, PathCode, TextCode
from diffpref.io.remedies import REMEDIES
from scripts import cli_options, errors_page

Count = Callable[[str, int], None]

ROOT = Path(__file__).parents[2]
KINDS = {kind.__name__: kind for kind in (DiffprefError, *DiffprefError.__subclasses__())}
CODES = [*RowCode, *TextCode, *PathCode, *ImageCode]


def made() -> Iterator[tuple[str, ast.Call]]:
    """Yield every place in the package that makes an error for a user."""
    for file in sorted((ROOT / "diffpref").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            named = isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
            if named and node.func.id in KINDS:  # pyright: ignore[reportAttributeAccessIssue]
                assert isinstance(node, ast.Call)
                yield f"{file.relative_to(ROOT)}:{node.lineno}", node


def test_every_error_gives_one_next_action(count: Count) -> None:
    places = list(made())
    assert len(places) > 500
    silent = [
        place
        for place, call in places
        if not {"hint"} & {word.arg for word in call.keywords}
        or any(
            isinstance(word.value, ast.Constant) and not word.value.value
            for word in call.keywords
            if word.arg == "hint"
        )
    ]
    assert silent == []
    count("errors that name their next action", len(places))


def test_every_exit_code_has_a_cause_and_a_remedy(
    count: Count,
) -> None:
    known = {0, 1, 2, 130} | {kind.exit_code for kind in KINDS.values()}
    assert set(EXIT_CODES) == known
    assert all(len(each.cause) > 10 and len(each.remedy) > 5 for each in EXIT_CODES.values())
    listed = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert all(f"| {code} |" in listed for code in EXIT_CODES)
    count("exit codes", len(EXIT_CODES))


def test_every_reason_code_has_a_cause_and_a_remedy(
    count: Count,
) -> None:
    remedies = [each.remedy if isinstance(each, RowCode) else REMEDIES[each] for each in CODES]
    assert all(len(each.meaning) > 10 for each in CODES)
    assert all(len(remedy) > 5 for remedy in remedies)
    assert set(REMEDIES) == {*TextCode, *PathCode, *ImageCode}
    assert len({str(each) for each in CODES}) == len(CODES)
    count("reason codes", len(CODES))


def test_the_page_of_errors_is_current_and_names_every_code() -> None:
    page = errors_page.PAGE.read_text(encoding="utf-8")
    assert page == errors_page.page(), "run python -m scripts.errors_page"
    assert [each for each in CODES if page.count(f"| `{each}` |") != 1] == []
    assert [code for code in EXIT_CODES if page.count(f"| `{code}` |") != 1] == []


def test_the_codes_never_change_their_names() -> None:
    """Data sets' reports and other people's scripts keep these words; only new ones may come."""
    assert "row-missing-field row-wrong-type row-empty-prompt row-long-prompt row-bad-text" in (
        " ".join(RowCode)
    )
    assert {str(code).split("-")[0] for code in CODES} == {"row", "text", "path", "image"}
    frozen = (ROOT / "tests" / "cli" / "codes.txt").read_text(encoding="utf-8").split()
    assert [code for code in frozen if code not in {str(each) for each in CODES}] == []
    assert [str(each) for each in CODES if str(each) not in frozen] == [], "add it to codes.txt"


def test_no_option_of_the_command_line_disappeared_or_changed_its_name(
    count: Count,
) -> None:
    assert cli_options.FROZEN.read_text(encoding="utf-8") == cli_options.text(), (
        "if this is meant, run python -m scripts.cli_options and write it into CHANGELOG.md"
    )
    count("options", sum(len(words) for words in cli_options.options().values()))


SILENT = {"config copy", "config schema"}
"""One writes a path, the other JSON anyway."""


def test_every_command_can_answer_in_json() -> None:
    without = {name for name, words in cli_options.options().items() if "--json" not in words}
    assert without == SILENT


def test_an_error_is_where_then_what_then_one_indented_action() -> None:
    told = str(errors.ConfigError("is wrong", where="loop.steps", hint="write 5"))
    assert told == "loop.steps: is wrong\n  write 5"


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_error_has_its_own_documented_code(kind: str) -> None:
    assert KINDS[kind].exit_code in EXIT_CODES
    assert KINDS[kind].__doc__
