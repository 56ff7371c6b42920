"""The one-file HTML report of a trained head: accuracy beside its ceilings, curves, tastes."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from diffpref.evaluate.curves import HEIGHT, LEFT, RIGHT, WIDTH
from diffpref.evaluate.figure import Curve, Figure, figure
from diffpref.evaluate.judged import Judged, Reliability
from diffpref.evaluate.shots import Shot
from diffpref.evaluate.taste import Recovered
from diffpref.io import write_atomic

TEMPLATE, STYLE = "reward_report.html.j2", "report.css"
_FOLDER = Path(__file__).resolve().parent


@dataclass(frozen=True, kw_only=True)
class Contender:
    """Somebody who foresees votes: on the votes themselves, and, where people are known, expected
    over all votes they might have given on all pairs of the test pictures."""

    name: str
    votes: Judged
    expected: Judged | None = None


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What a trained head was measured to do; lists are empty where nothing could be measured."""

    contenders: Sequence[Contender]
    reliability: Reliability
    history: Sequence[Mapping[str, int | float]] = ()
    shots: Sequence[Shot] = ()
    attainable_shots: Sequence[Shot] = ()
    taste: Recovered | None = None
    by_step: Sequence[Curve] = ()


def write_reward_report(
    path: Path,
    findings: Findings,
    *,
    title: str,
    lead: str,
    note: str,
    details: Mapping[str, object],
) -> None:
    """Write the report as a whole or not at all.

    Raises:
        DiskError: the folder cannot be written.
    """
    style = (_FOLDER / STYLE).read_text(encoding="utf-8")
    page = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    ).get_template(TEMPLATE)
    text = page.render(
        title=title,
        lead=lead,
        note=note,
        about="Ties count one half. Intervals resample people or prompts, whichever the test "
        "holds new. Rows below the head are what it is to be compared with.",
        style=Markup(style),
        style_hash=b64encode(sha256(style.encode()).digest()).decode("ascii"),
        exact=any(each.expected for each in findings.contenders),
        rows=[_row(each) for each in findings.contenders],
        figures=figures(findings),
        width=WIDTH,
        height=HEIGHT,
        left=LEFT,
        right=WIDTH - RIGHT,
        details=[(name, str(value)) for name, value in details.items()],
    )
    write_atomic(path, text)


def figures(findings: Findings) -> list[Figure]:
    """Return the pictures for which there is something to draw."""
    found: list[Figure] = []
    if findings.history:
        found += [
            _training("Loss", "of a vote, without margin and smoothing", "loss", findings),
            _training("Accuracy", "while training", "accuracy", findings),
        ]
    if findings.by_step:
        about = "accuracy on test votes (up) of images noised to t (right)"
        found.append(figure("Accuracy by noise", about, findings.by_step))
    found.append(
        figure(
            "Reliability",
            f"how often right (up) at each confidence (right); ECE {findings.reliability.ece:.3f}",
            [
                Curve(
                    name="bins of equally many pairs",
                    points=[(each.confidence, each.right) for each in findings.reliability.bins],
                )
            ],
            guide=((0.5, 0.5), (1.0, 1.0)),
        )
    )
    if findings.shots:
        curves = [Curve(name="head", points=_after(findings.shots))]
        if findings.attainable_shots:
            points = _after(findings.attainable_shots)
            curves.append(Curve(name="attainable with these votes", points=points))
        about = "accuracy on new people (up) after so many votes of theirs (right)"
        found.append(figure("New people", about, curves))
    if findings.taste is not None:
        found.append(_tastes(findings.taste))
    return found


def _training(title: str, about: str, what: str, findings: Findings) -> Figure:
    curves = [
        Curve(name=part, points=points)
        for part in ("train", "validation")
        if (points := _series(findings.history, f"{part}_{what}"))
    ]
    return figure(title, about, curves)


def _series(history: Sequence[Mapping[str, int | float]], name: str) -> list[tuple[float, float]]:
    return [(float(row["step"]), float(row[name])) for row in history if name in row]


def _after(shots: Sequence[Shot]) -> list[tuple[float, float]]:
    return [(float(each.votes), each.judged.accuracy) for each in shots if each.votes is not None]


def _tastes(taste: Recovered) -> Figure:
    true, shown = taste.true.flatten().tolist(), taste.shown.flatten().tolist()
    low, high = min(true + shown), max(true + shown)
    about = (
        "one dot per person and attribute, true weight (right), shown weight (up); "
        f"cosine {taste.cosine:.2f}, correlation of what is personal {taste.personal:.2f}"
    )
    dots = Curve(name="weights", points=list(zip(true, shown, strict=True)), dots=True)
    return figure("Recovered taste", about, [dots], guide=((low, low), (high, high)))


def _row(each: Contender) -> dict[str, str]:
    row = {
        "name": each.name,
        "accuracy": f"{each.votes.accuracy:.3f}",
        "interval": _interval(each.votes),
        "n": str(each.votes.n),
    }
    if each.expected is None:
        return {**row, "expected": "", "expected_interval": "", "expected_n": ""}
    return {
        **row,
        "expected": f"{each.expected.accuracy:.3f}",
        "expected_interval": _interval(each.expected),
        "expected_n": str(each.expected.n),
    }


def _interval(found: Judged) -> str:
    return f"{found.low:.3f} to {found.high:.3f}"
