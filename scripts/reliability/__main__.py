"""`python -m scripts.reliability [P5 P13 ...]`: all promises, or some, whose rows change."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from scripts.reliability.measure import ROOT, measure
from scripts.reliability.page import line, page
from scripts.reliability.promises import PROMISES
from scripts.reliability.saved import commit, load, save

PAGE: Path = ROOT / "docs" / "reliability.md"


def main(codes: Sequence[str]) -> int:
    """Run promises one after the other; the exit code is 1 if one is broken."""
    unknown = sorted(set(codes) - {promise.code for promise in PROMISES})
    if unknown:
        sys.stderr.write(f"there is no promise {', '.join(unknown)}; they are P1 to P23\n")
        return 2
    results = load()
    now = commit()
    chosen = [promise for promise in PROMISES if not codes or promise.code in codes]
    for promise in chosen:
        results[promise.code] = replace(measure(promise), commit=now)
        sys.stdout.write(line(results[promise.code]) + "\n")
        sys.stdout.flush()
        found = {each.code: results[each.code] for each in PROMISES if each.code in results}
        save(found)  # after every promise: a run that is cut off keeps what it measured
        PAGE.write_text(page(list(found.values())), encoding="utf-8")
    mine = [results[promise.code] for promise in chosen]
    kept = sum(result.kept for result in mine)
    total = sum(result.seconds for result in mine)
    sys.stdout.write(f"{kept} of {len(mine)} promises are kept, {total / 60:.1f} minutes\n")
    return int(kept < len(mine))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
