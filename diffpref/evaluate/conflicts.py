"""Who made the labels: a scorer that made them, or learned from them, cannot be tested on them."""

from collections.abc import Iterable, Sequence

from diffpref.rewards import ScorerInfo

TUNED_ON = {"world-reward": ("builtin:pairs", "train")}
"""Scorer -> the votes it learned from: source and split."""


def conflicts(
    infos: Sequence[ScorerInfo],
    *,
    sources: Iterable[str | None] = (),
    labellers: Iterable[str] = (),
    place: tuple[str, str] = ("", ""),
) -> list[str]:
    """Return a warning for every scorer whose agreement with the labels says nothing.

    Args:
        infos: the scorers under test.
        sources: what the rows name as their `source`.
        labellers: the scorers of the label table.
        place: source and split of the rows.
    """
    tables, named = set(labellers), {text.strip().lower() for text in sources if text}
    found: list[str] = []
    for info in infos:
        names = {info.id.lower(), info.name.lower()}
        if info.id in tables:
            found.append(f"{info.id} made the labels of the table: it is tested on its own opinion")
        elif names & named:
            found.append(f"rows name {info.id} as their source: it is tested on its own opinion")
        elif TUNED_ON.get(info.name) == place:
            found.append(f"{info.id} learned from these votes: take --split test")
    return found
