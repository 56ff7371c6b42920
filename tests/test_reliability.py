"""The tables of promises and of mistakes point at what is there, and judge as they say."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from scripts import mutants
from scripts.reliability import saved
from scripts.reliability.measure import Case, cases_of, files_of, result_of
from scripts.reliability.mutations import MUTATIONS
from scripts.reliability.page import line, page
from scripts.reliability.promise import Number, Promise
from scripts.reliability.promises import PROMISES

ROOT = Path(__file__).parents[1]


def test_the_promises_are_the_23_in_order() -> None:
    assert [promise.code for promise in PROMISES] == [f"P{n}" for n in range(1, 24)]


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.code)
def test_a_promise_points_at_tests_and_numbers_that_exist(promise: Promise) -> None:
    files = files_of(promise)
    assert len(files) == len(promise.tests)
    text = ""
    for name in files:
        path, _, function = name.partition("::")
        paths = sorted((ROOT / path).rglob("*.py")) if (ROOT / path).is_dir() else [ROOT / path]
        code = "".join(each.read_text(encoding="utf-8") for each in paths)
        assert not function or re.search(rf"^def {function}\(", code, re.MULTILINE), name
        text += code
    for number in promise.numbers:
        wanted = f"def {number.each}(" if number.each else f'count("{number.what}"'
        assert wanted in text, number


def some_promise() -> Promise:
    numbers = (
        Number(what="kills", least=3),
        Number(what="draws", least=5, of="least"),
        Number(what="bombs", least=2, each="test_bomb"),
    )
    return Promise(code="P0", sentence="It holds.", tests=("tests/x.py",), numbers=numbers)


SOUND = [
    Case(name="test_kill", outcome="passed", counts=(("kills", 1), ("draws", 5))),
    Case(name="test_kill_more", outcome="passed", counts=(("kills", 2), ("draws", 9))),
    Case(name="test_bomb[a]", outcome="passed"),
    Case(name="test_bomb[b]", outcome="passed"),
]


def test_a_promise_is_kept_by_passed_tests_that_tried_enough() -> None:
    result = result_of(some_promise(), SOUND, 1.0)
    assert result.kept
    assert [each.value for each in result.numbers] == [3, 5, 2]
    assert "3 kills (at least 3); 5 draws (at least 5); 2 bombs (at least 2); 4 tests" in line(
        result
    )


@pytest.mark.parametrize("outcome", ["failed", "skipped"])
@pytest.mark.parametrize("which", range(4))
def test_a_test_that_fails_or_is_skipped_does_not_count(outcome: str, which: int) -> None:
    cases = [replace(case, outcome=outcome) if i == which else case for i, case in enumerate(SOUND)]
    kept = result_of(some_promise(), cases, 1.0).kept
    assert not kept, "its number is then too small"


def test_a_promise_without_tests_is_not_kept() -> None:
    promise = Promise(code="P0", sentence="It holds.", tests=("tests/nothing*.py",))
    result = result_of(promise, [], 0.0)
    assert not result.kept
    assert "no tests" in line(result)
    assert "0 of 23 promises are kept, not measured: P1, P2" in page([result])


def test_the_page_of_promises_shows_what_was_measured_last() -> None:
    shown = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    assert shown == page(list(saved.load().values()))


def test_a_report_of_pytest_is_read() -> None:
    report = """<testsuites><testsuite>
      <testcase name="test_a[x]"><properties><property name="kills" value="7"/></properties>
      </testcase>
      <testcase name="test_b"><failure message="no"/></testcase>
      <testcase name="test_c"><skipped/></testcase>
      <testcase name="test_d"><error/></testcase>
    </testsuite></testsuites>"""
    assert [(each.function, each.outcome, each.counts) for each in cases_of(report)] == [
        ("test_a", "passed", (("kills", 7),)),
        ("test_b", "failed", ()),
        ("test_c", "skipped", ()),
        ("test_d", "failed", ()),
    ]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_mistake_still_fits_the_code(mutation: mutants.Mutation) -> None:
    for edit in mutation.edits:
        assert (ROOT / edit.file).read_text(encoding="utf-8").count(edit.old) == 1
        assert edit.new != edit.old
    for test in mutation.tests:
        assert test.startswith("-k ") or (ROOT / test).is_file()


def test_every_mistake_was_made_and_noticed() -> None:
    found = json.loads(mutants.RESULT.read_text(encoding="utf-8"))
    assert len(MUTATIONS) >= 20
    assert [each["name"] for each in found] == [mutation.name for mutation in MUTATIONS]
    assert [each["name"] for each in found if each["outcome"] != "killed"] == []
    assert mutants.PAGE.read_text(encoding="utf-8") == mutants.page(
        [mutants.Outcome(**each) for each in found]
    )


def test_a_mistake_whose_place_is_gone_is_an_error_and_nothing_is_left_changed(
    tmp_path: Path,
) -> None:
    mutation = MUTATIONS[0]
    file = tmp_path / mutation.edits[0].file
    file.parent.mkdir(parents=True)
    file.write_text("nothing of the kind\n")
    with pytest.raises(ValueError, match="holds 0 times"), mutants.mutated(tmp_path, mutation):
        pytest.fail("it must not run")
    file.write_text(f"a\n{mutation.edits[0].old}\n")
    with mutants.mutated(tmp_path, mutation):
        assert mutation.edits[0].new in file.read_text()
    assert file.read_text() == f"a\n{mutation.edits[0].old}\n"
