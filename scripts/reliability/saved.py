"""docs/benchmarks/reliability.json: what every promise's last measurement found, and where."""

import json
import subprocess
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from scripts.reliability.measure import ROOT, Found, Result

SAVED: Path = ROOT / "docs" / "benchmarks" / "reliability.json"


def load() -> dict[str, Result]:
    """Return the last result of every promise that was measured."""
    if not SAVED.is_file():
        return {}
    told: list[dict[str, Any]] = json.loads(SAVED.read_text(encoding="utf-8"))
    return {each["code"]: _result(each) for each in told}


def save(results: Mapping[str, Result]) -> None:
    """Write the results in the order given."""
    text = json.dumps([asdict(each) for each in results.values()], indent=1, ensure_ascii=False)
    SAVED.write_text(text + "\n", encoding="utf-8")


def commit() -> str:
    """Return the short name of the commit, `+` after it if code or tests differ from it."""

    def git(*words: str) -> str:
        command = ["git", *words]
        said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        return said.stdout.strip()

    changed = git("status", "--porcelain", "--", "diffpref", "tests", "scripts")
    return (git("rev-parse", "--short=8", "HEAD") or "no git") + "+" * bool(changed)


def _result(told: Mapping[str, Any]) -> Result:
    numbers = tuple(Found(**each) for each in told["numbers"])
    lists = {name: tuple(told[name]) for name in ("tests", "failed")}
    return Result(**{**told, **lists, "numbers": numbers})
