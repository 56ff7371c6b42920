"""Does every test bite? Makes one mistake at a time in a copy of the tree and runs its tests.

`python -m scripts.mutants [WORDS OF A NAME]`; without words all of them, and then
docs/benchmarks/mutants.json and mutants.md are written. The working tree is never touched. The
exit code is 1 if a mistake was not noticed.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from scripts.reliability.mutations import MUTATIONS, Mutation

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "docs" / "benchmarks" / "mutants.json"
PAGE = RESULT.with_suffix(".md")
FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+?)(?:\[.*)?(?: - .*)?$", re.MULTILINE)
LIMIT = 600
"""Seconds for the tests of one mutation; a mistake that makes them hang is noticed too."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a mistake: killed, survived, or the tests could not run."""

    name: str
    files: list[str]
    tests: str
    outcome: str
    killed_by: str
    seconds: float


@contextmanager
def copied() -> Iterator[Path]:
    """Give a copy of what git tracks, or would after `git add .`."""
    said = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    with tempfile.TemporaryDirectory(prefix="diffpref-mutants-") as folder:
        tree = Path(folder)
        for name in filter(None, said.stdout.decode().split("\0")):
            if (ROOT / name).is_file():
                (tree / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, tree / name)
        yield tree


@contextmanager
def mutated(tree: Path, mutation: Mutation) -> Iterator[None]:
    """Make a mistake in the copy and take it back.

    Raises:
        ValueError: the text it replaces does not stand there exactly once.
    """
    before = {edit.file: (tree / edit.file).read_text(encoding="utf-8") for edit in mutation.edits}
    try:
        for edit in mutation.edits:
            text = (tree / edit.file).read_text(encoding="utf-8")
            if text.count(edit.old) != 1:
                raise ValueError(f"{mutation.name}: {edit.file} holds {text.count(edit.old)} times")
            (tree / edit.file).write_text(text.replace(edit.old, edit.new), encoding="utf-8")
        yield
    finally:
        for file, text in before.items():
            (tree / file).write_text(text, encoding="utf-8")


def tested(tree: Path, arguments: Sequence[str]) -> tuple[int, str]:
    """Run tests in the copy; return pytest's exit code and the first test that failed."""
    words = [word for argument in arguments for word in argument.split(" ", 1)]
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *words]
    variables = {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    try:
        said = subprocess.run(
            command,
            cwd=tree,
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return 1, "none: they hang"
    found = FAILED.search(said.stdout)
    return said.returncode, found[1] if found else said.stdout[-300:].strip()


def sound(tree: Path, mutations: Sequence[Mutation]) -> list[str]:
    """Return the tests that fail, or cannot run, without any mistake: they would prove nothing."""
    return [
        " ".join(tests)
        for tests in dict.fromkeys(each.tests for each in mutations)
        if tested(tree, tests)[0] != 0
    ]


def tried(tree: Path, mutation: Mutation) -> Outcome:
    """Make a mistake and see whether its tests notice."""
    began = time.monotonic()
    with mutated(tree, mutation):
        code, which = tested(tree, mutation.tests)
    return Outcome(
        name=mutation.name,
        files=[edit.file for edit in mutation.edits],
        tests=" ".join(mutation.tests),
        outcome={0: "survived", 1: "killed"}.get(code, f"error {code}"),
        killed_by=which if code else "",
        seconds=round(time.monotonic() - began, 1),
    )


def page(outcomes: Sequence[Outcome]) -> str:
    """Return the table as a page."""
    killed = sum(each.outcome == "killed" for each in outcomes)
    rows = [
        f"| {each.name} | {', '.join(f'`{file}`' for file in dict.fromkeys(each.files))} "
        f"| {each.outcome} | `{each.killed_by}` |"
        for each in outcomes
    ]
    head = [
        "# Mutants: mistakes made on purpose",
        "",
        f"{killed} of {len(outcomes)} mistakes, made one at a time in a copy of the tree, are "
        "noticed by the tests named",
        "for them. Made with `python -m scripts.mutants`; the mistakes are in "
        "`scripts/reliability/mutations.py`.",
        "",
        "| mistake | file | outcome | noticed first by |",
        "|---|---|---|---|",
    ]
    return "\n".join([*head, *rows, ""])


def main(words: Sequence[str]) -> int:
    """Try the mutations whose name holds all the words."""
    chosen = [each for each in MUTATIONS if all(word in each.name for word in words)]
    with copied() as tree:
        broken = sound(tree, chosen)
        if broken:
            sys.stderr.write("these tests fail without a mistake:\n" + "\n".join(broken) + "\n")
            return 1
        outcomes: list[Outcome] = []
        for mutation in chosen:
            outcomes.append(tried(tree, mutation))
            last = outcomes[-1]
            sys.stdout.write(f"{last.outcome:9} {last.seconds:6.1f} s  {last.name}\n")
            sys.stdout.flush()
    if not words:
        table = [asdict(each) for each in outcomes]
        RESULT.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
        PAGE.write_text(page(outcomes), encoding="utf-8")
    alive = [each.name for each in outcomes if each.outcome != "killed"]
    sys.stdout.write(f"{len(outcomes) - len(alive)} of {len(outcomes)} killed\n")
    return int(bool(alive))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
