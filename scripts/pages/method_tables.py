"""The two tables of docs/methods.md, from the methods and from the boards' result files."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diffpref.catalogue import describe
from diffpref.methods import METHODS
from scripts.pages.costs import cost

BENCHMARKS = Path(__file__).resolve().parents[2] / "docs" / "benchmarks"
MARKS = re.compile(r"(<!-- (\w+) table: .*? -->\n\n).*?(\n\n<!-- end -->)", re.S)

NOISY = {"lpo"}
"""Methods whose rewards are of noisy latents."""

HEADS = {
    "offline": "| method | paper | learns from | reference network | UNet work | board | status |",
    "online": "| method | paper | learns from | reference network "
    "| UNet work [+ sampling; rewards] | board | status |",
}


def filled(page: str) -> str:
    """Return the page with what stands between its marks written anew."""
    return MARKS.sub(lambda found: found[1] + _table(found[2]) + found[3], page)


def _table(kind: str) -> str:
    board = _rows("leaderboard.json" if kind == "offline" else "online.json")
    rows = [
        _row(name, board.get(name), online=kind == "online")
        for name in METHODS
        if _is_online(name) == (kind == "online")
    ]
    return "\n".join([HEADS[kind], "|---" * 7 + "|", *rows])


def _rows(name: str) -> Mapping[str, Any]:
    return json.loads((BENCHMARKS / name).read_text(encoding="utf-8"))["rows"]


def _is_online(name: str) -> bool:
    return METHODS[name].data in {"steps", "walks", "prompts"} or name == "nft"


def _row(name: str, result: Mapping[str, Any] | None, *, online: bool) -> str:
    found: Any = describe(name)
    data = "pairs of known users" if METHODS[name].users else found["data"]
    told = [
        f"[`{name}`](method-reference.md#{name})",
        f"[{found['paper']['short']}]({found['paper']['url']})",
        data,
        found["reference"],
        _work(name, online=online),
        _board(result),
        found["status"],
    ]
    return f"| {' | '.join(told)} |"


def _work(name: str, *, online: bool) -> str:
    asked: Any = cost(name)
    per = str(asked["per"]).replace("pair of candidates", "pair")
    work = f"{asked['forwards']:.0f} per {per}"
    if not online:
        return work
    made = asked["sampling"]
    if made is not None:
        noisy = ", of noisy latents" if name in NOISY else ""
        return f"{work} [+ {made['network']:.2g}; {made['rewards']:.1g}{noisy}]"
    return f"{work} [+ 80; 4]" if name == "nft" else f"{work} [; 1]"


def _board(result: Mapping[str, Any] | None) -> str:
    """Return the win rate over the base and the gain in utility."""
    if result is None:
        return ""
    gain = result.get("utility_gain")
    if gain is None:
        gain = result["curve"][-1]["oracle"] - result["curve"][0]["oracle"]
    return f"{result['vs_base']['rate']:.3f}, {gain:+.2f}"
