"""docs/reliability.md: promise, tests, numbers and result, and what is not promised."""

from collections.abc import Sequence

from scripts.reliability.measure import Result
from scripts.reliability.promises import NOT_PROMISED, PROMISES

HEAD = """# Reliability: what is promised, and what proves it

Written by `bash scripts/reliability.sh`, which runs every test named here, the slow ones too, and
counts what ran: numbers are reported by the tests themselves. A promise whose tests do not exist,
fail, or tried less than the number in brackets is broken. That the tests would notice a mistake is
shown by [mistakes made on purpose](benchmarks/mutants.md).
"""


def numbers(result: Result) -> str:
    """Return a promise's numbers and, in brackets, the least that counts."""
    told = [f"{each.value:,} {each.what} (at least {each.least:,})" for each in result.numbers]
    more = f", {result.skipped} skipped" if result.skipped else ""
    return "; ".join([*told, f"{result.passed} tests{more}"])


def verdict(result: Result) -> str:
    """Return in words whether the promise is kept."""
    if result.kept:
        return "kept"
    if not result.passed and not result.failed:
        return "**no tests**"
    return "**broken**"


def line(result: Result) -> str:
    """Return one line for a terminal."""
    said = f"{result.code:4} {verdict(result):12} {result.seconds:6.0f} s  {result.sentence}"
    failed = "".join(f"\n     failed: {name}" for name in result.failed)
    return f"{said}\n     {numbers(result)}{failed}"


def page(results: Sequence[Result]) -> str:
    """Return the page."""
    kept = sum(result.kept for result in results)
    total = sum(result.seconds for result in results)
    rows = [
        f"| {result.code} | {result.sentence} | {numbers(result)} | {verdict(result)} "
        f"| {result.commit} |"
        for result in results
    ]
    files = [f"- {each.code}: " + ", ".join(_links(each.tests)) for each in PROMISES]
    return "\n".join(
        [
            HEAD,
            f"{kept} of {len(PROMISES)} promises are kept, {_unmeasured(results)}. Together "
            f"{total / 60:.0f} minutes on two cores; a `+` marks a tree with changes.\n",
            "| | promise | number | result | commit |",
            "|---|---|---|---|---|",
            *rows,
            "\n## Not promised\n",
            *(f"- {sentence}" for sentence in NOT_PROMISED),
            "\n## The tests of each promise\n",
            *files,
            "",
        ]
    )


def _unmeasured(results: Sequence[Result]) -> str:
    """Return which promises were not measured, in words."""
    missing = [each.code for each in PROMISES if each.code not in {r.code for r in results}]
    return f"not measured: {', '.join(missing)}" if missing else "all were measured"


def _links(tests: Sequence[str]) -> list[str]:
    """Return the files of tests, each once."""
    return [f"`{name}`" for name in dict.fromkeys(test.partition("::")[0] for test in tests)]
