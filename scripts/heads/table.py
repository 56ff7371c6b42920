"""docs/benchmarks/heads.md: what every head foresees of the bundled people, from the JSON."""

from collections.abc import Iterable, Sequence
from statistics import mean
from typing import Any

Facts = dict[str, Any]

HEAD = """# Heads of train-reward on the bundled people

Made by `python -m scripts.bench_heads --work FOLDER --out docs/benchmarks/heads.json`;
docs/train-reward.md says what the lines mean. Embedder world-reward, today's defaults, seeds
{seeds}, float32, one thread of a busy machine. "Expected" is the accuracy over all votes people
might give on every two test pictures; values are means over seeds, with the smallest and the
largest in brackets, intervals 95 % bootstrap over people (or prompts) of seed 0. "personal" is the
correlation, over people and attributes, of what distinguishes people. Feature sets: the embedding
alone; `--features` with the eight pixel attributes; the same with `world-fidelity`. **The bundled
people's taste is linear in bounded functions of exactly these attributes and of fidelity: the last
two sets show that heads and fitting are right, not that real taste is that easy.**
"""


LIMITS = (
    ("world-reward alone", "scorer"),
    ("ceiling: the exact population", "population"),
    ("ceiling: exact taste, seen through the features", "seen through the features"),
    ("ceiling: attainable with these votes", "attainable"),
    ("ceiling: exact own utility", "own"),
)


def table(found: dict[str, list[Facts]]) -> str:
    """Return the page."""
    seeds = ", ".join(map(str, sorted({each["seed"] for each in found["polled"]})))
    sets = list(dict.fromkeys(each["features"] for each in found["bundled"]))
    parts = [HEAD.format(seeds=seeds)]
    parts += [_bundled(found["bundled"], name) for name in sets]
    parts += [_polled(found, name) for name in sets]
    parts.append(_causes(found["causes"]))
    return "\n".join(parts)


def _bundled(rows: Sequence[Facts], name: str) -> str:
    lines = [f"## The bundled votes, {name}", ""]
    for split, what in (("user", "New people"), ("prompt", "Known people, new prompts")):
        mine = [row for row in rows if row["features"] == name and row["split"] == split]
        pairs = mine[0]["pairs"]
        lines += [
            f"**{what}** ({pairs['train']:,} votes to train, {pairs['test']} to test):",
            "",
            "| who foresees | votes | interval | expected | interval | ECE "
            "| taste: cosine, personal | seconds |",
            "|---|---|---|---|---|---|---|---|",
            *(_head_line(head, runs) for head, runs in _by(mine, "head")),
            *_ceiling_lines(mine),
            "",
        ]
    return "\n".join(lines)


def _head_line(head: str, runs: Sequence[Facts]) -> str:
    own = [_named(run, head) for run in runs]
    taste = [run["taste"] for run in runs]
    shown = f"{mean(t['cosine'] for t in taste):.2f}, {mean(t['personal'] for t in taste):.2f}"
    cells = (
        f"`{head}`",
        _spread(each["votes"]["accuracy"] for each in own),
        _interval(own[0]["votes"]),
        _spread(each["expected"]["accuracy"] for each in own),
        _interval(own[0]["expected"]),
        f"{mean(run['ece'] for run in runs):.3f}",
        shown,
        f"{mean(run['seconds'] for run in runs):.1f}",
    )
    return _line(cells)


def _ceiling_lines(runs: Sequence[Facts]) -> Iterable[str]:
    """Yield the lines that do not depend on a head, from the first run."""
    first = runs[0]
    for each in first["accuracy"]:
        if each["name"].startswith(first["head"]):
            continue
        yield _line(
            (
                each["name"],
                f"{each['votes']['accuracy']:.3f}",
                _interval(each["votes"]),
                f"{each['expected']['accuracy']:.3f}",
                _interval(each["expected"]),
                "",
                "",
                "",
            )
        )


def _polled(found: dict[str, list[Facts]], name: str) -> str:
    rows = [row for row in found["polled"] if row["features"] == name]
    votes = sorted({row["votes"] for row in rows})
    later = max((row["new"] for row in rows), key=len)
    lines = [
        f"## More votes of the same people, {name}",
        "",
        "Expected accuracy on other prompts, of known people, then of new people by the head of "
        f"{votes[-1]} votes after that many votes of theirs.",
        "",
        "| head | "
        + " | ".join(f"{count} votes each" for count in votes)
        + " | interval at most votes | "
        + " | ".join(f"new: {count}" for count in later)
        + " | personal taste |",
        "|---" * (4 + len(votes) + len(later) - 1) + "|",
    ]
    for head, runs in _by(rows, "head"):
        by_votes = {count: [run for run in runs if run["votes"] == count] for count in votes}
        most = by_votes[votes[-1]]
        personal = (mean(run["taste"]["personal"] for run in by_votes[count]) for count in votes)
        cells = (
            f"`{head}`",
            *(_spread(run["known"] for run in by_votes[count]) for count in votes),
            f"{most[0]['low']:.3f} to {most[0]['high']:.3f}",
            *(_mean(run["new"].get(count) for run in most) for count in later),
            " → ".join(f"{value:.2f}" for value in personal),
        )
        lines.append(_line(cells))
    any_set = found["ceilings"][0]["features"]  # what does not depend on features is kept there
    for what, key in LIMITS:
        where = name if key == "seen through the features" else any_set
        limits = [each for each in found["ceilings"] if each["features"] == where]
        lines.append(_limit(what, key, limits, votes, later))
    return "\n".join([*lines, ""])


def _limit(
    what: str, key: str, limits: Sequence[Facts], votes: Iterable[int], later: Iterable[str]
) -> str:
    """Return the line of what bounds every head; only what votes allow bounds new people."""
    own = [[_accuracy(each[key]) for each in limits if each["votes"] == count] for count in votes]
    most = max(each["votes"] for each in limits)
    new = [each.get(f"{key}_new", {}) for each in limits if each["votes"] == most]
    return _line(
        (
            what,
            *map(_mean, own),
            "",
            *(_mean(each.get(count) for each in new) for count in later),
            "",
        )
    )


def _accuracy(found: float | Facts) -> float:
    return found["accuracy"] if isinstance(found, dict) else found


def _causes(rows: Sequence[Facts]) -> str:
    lines = [
        "## Votes on pictures the embedder was tuned on",
        "",
        "Expected accuracy with equally many votes: as given in the bundled data, given anew on "
        "the same pictures, and given on unseen pictures.",
        "",
        "| head | where | votes | known people |",
        "|---|---|---|---|",
    ]
    for head, runs in _by(rows, "head"):
        for where, mine in _by(runs, "where"):
            votes = f"{mine[0]['votes']:,}"
            lines.append(_line((f"`{head}`", where, votes, _spread(r["known"] for r in mine))))
    return "\n".join([*lines, ""])


def _by(rows: Sequence[Facts], key: str) -> Iterable[tuple[str, list[Facts]]]:
    for value in dict.fromkeys(row[key] for row in rows):
        yield value, [row for row in rows if row[key] == value]


def _named(run: Facts, name: str) -> Facts:
    return next(each for each in run["accuracy"] if each["name"] == name)


def _spread(values: Iterable[float]) -> str:
    found = list(values)
    return f"{mean(found):.3f} ({min(found):.3f} to {max(found):.3f})"


def _interval(each: Facts) -> str:
    return f"{each['low']:.3f} to {each['high']:.3f}"


def _mean(values: Iterable[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{mean(known):.3f}" if known else ""


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"
