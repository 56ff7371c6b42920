"""`python -m scripts.reliability [P5 P13 ...]`: all promises, or some; all write the page."""

import sys
from collections.abc import Sequence
from pathlib import Path

from scripts.reliability.measure import ROOT, measure
from scripts.reliability.page import line, page
from scripts.reliability.promises import PROMISES

PAGE: Path = ROOT / "docs" / "reliability.md"


def main(codes: Sequence[str]) -> int:
    """Run promises one after the other; the exit code is 1 if one is broken."""
    unknown = sorted(set(codes) - {promise.code for promise in PROMISES})
    if unknown:
        sys.stderr.write(f"there is no promise {', '.join(unknown)}; they are P1 to P23\n")
        return 2
    results = []
    for promise in PROMISES:
        if codes and promise.code not in codes:
            continue
        results.append(measure(promise))
        sys.stdout.write(line(results[-1]) + "\n")
        sys.stdout.flush()
    if not codes:
        PAGE.write_text(page(results), encoding="utf-8")
    kept = sum(result.kept for result in results)
    total = sum(result.seconds for result in results)
    sys.stdout.write(f"{kept} of {len(results)} promises are kept, {total / 60:.1f} minutes\n")
    return int(kept < len(results))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
