"""Runs the tests of a promise and counts what ran; nothing is taken from prose."""

import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.reliability.promise import Number, Promise

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = "300"
MARKS = "not gpu and not weights and not browser"


@dataclass(frozen=True, kw_only=True)
class Case:
    """One test that ran: its function, how it ended, and what it counted."""

    name: str
    outcome: str
    counts: tuple[tuple[str, int], ...] = ()

    @property
    def function(self) -> str:
        return self.name.partition("[")[0]


@dataclass(frozen=True, kw_only=True)
class Found:
    """A number as it came out."""

    what: str
    value: int
    least: int

    @property
    def enough(self) -> bool:
        return self.value >= self.least


@dataclass(frozen=True, kw_only=True)
class Result:
    """What became of a promise."""

    code: str
    sentence: str
    tests: tuple[str, ...]
    passed: int
    failed: tuple[str, ...]
    skipped: int
    numbers: tuple[Found, ...]
    seconds: float
    commit: str = ""

    @property
    def kept(self) -> bool:
        """Whether tests ran, none failed, and every number is large enough."""
        return self.passed > 0 and not self.failed and all(each.enough for each in self.numbers)


def files_of(promise: Promise) -> list[str]:
    """Return pytest's arguments; a pattern that matches nothing leaves nothing."""
    found: list[str] = []
    for test in promise.tests:
        name, colons, case = test.partition("::")
        matched = sorted(ROOT.glob(name)) if "*" in name else [ROOT / name]
        found += [
            f"{path.relative_to(ROOT).as_posix()}{colons}{case}"
            for path in matched
            if path.exists()
        ]
    return found


def measure(promise: Promise, *, processes: int = 2) -> Result:
    """Run a promise's tests, the slow ones too, and count."""
    began = time.monotonic()
    files = files_of(promise)
    with tempfile.TemporaryDirectory(prefix="diffpref-reliability-") as folder:
        report = Path(folder) / "report.xml"
        cases = _run(files, report, processes) if files else []
    return result_of(promise, cases, time.monotonic() - began)


def result_of(promise: Promise, cases: Sequence[Case], seconds: float) -> Result:
    """Judge a promise by the tests that ran."""
    passed = [case for case in cases if case.outcome == "passed"]
    bad = [case.name for case in cases if case.outcome == "failed"]
    return Result(
        code=promise.code,
        sentence=promise.sentence,
        tests=promise.tests,
        passed=len(passed),
        failed=tuple(bad),
        skipped=sum(case.outcome == "skipped" for case in cases),
        numbers=tuple(_number(number, passed) for number in promise.numbers),
        seconds=round(seconds, 1),
    )


def _run(files: Sequence[str], report: Path, processes: int) -> list[Case]:
    words = ["-q", "-n", str(processes), "-m", MARKS, f"--junitxml={report}"]
    command = [sys.executable, "-m", "pytest", *words, "-o", "junit_family=xunit1", *files]
    variables = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    said = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **variables, "DIFFPREF_EXAMPLES": EXAMPLES},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if not report.is_file():
        return [Case(name=f"pytest could not run: {said.stdout[-300:]}", outcome="failed")]
    cases = cases_of(report.read_text(encoding="utf-8"))
    if said.returncode not in (0, 5) and not any(case.outcome == "failed" for case in cases):
        cases.append(Case(name=f"pytest ended with {said.returncode}", outcome="failed"))
    return cases


def cases_of(report: str) -> list[Case]:
    """Return the tests that a report of pytest lists."""
    return [_case(node) for node in ET.fromstring(report).iter("testcase")]


def _case(node: ET.Element) -> Case:
    counts = [
        (str(each.get("name")), int(str(each.get("value"))))
        for each in node.iter("property")
        if str(each.get("value")).isdigit()
    ]
    outcome = "passed"
    if node.find("failure") is not None or node.find("error") is not None:
        outcome = "failed"
    elif node.find("skipped") is not None:
        outcome = "skipped"
    return Case(name=str(node.get("name")), outcome=outcome, counts=tuple(counts))


def _number(number: Number, passed: Sequence[Case]) -> Found:
    if number.each is not None:
        value = sum(case.function == number.each for case in passed)
        return Found(what=number.what, value=value, least=number.least)
    told = [value for case in passed for name, value in case.counts if name == number.what]
    value = sum(told) if number.of == "all" else min(told, default=0)
    return Found(what=number.what, value=value, least=number.least)
