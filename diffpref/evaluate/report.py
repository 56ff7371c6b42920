"""The one-file HTML report: images, win rates, curves, configuration; no script, no fetch."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from diffpref.evaluate.bootstrap import LEVEL
from diffpref.evaluate.compare import Comparison
from diffpref.evaluate.curves import HEIGHT, LEFT, RIGHT, WIDTH, panels
from diffpref.evaluate.grid import plain
from diffpref.evaluate.page import render_page
from diffpref.evaluate.pictures import SMALL, data_uri
from diffpref.evaluate.winrate import WinRate
from diffpref.io import write_atomic

TEMPLATE = "report.html.j2"


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One scorer's view of one image pair, ready to print."""

    scorer: str
    a: str
    b: str
    difference: str
    sign: str


@dataclass(frozen=True, kw_only=True)
class Card:
    """One prompt and seed: both images and what each scorer thinks."""

    prompt: str
    seed: int
    a: str
    b: str
    judged: tuple[Judged, ...]


def write_report(
    path: Path,
    comparison: Comparison,
    *,
    title: str,
    metrics: Sequence[Mapping[str, object]] = (),
    config: str = "",
    environment: Mapping[str, object] | None = None,
    note: str = "",
) -> None:
    """Write the report as a whole or not at all.

    Args:
        path: the HTML file.
        comparison: images, scores and win rates.
        title: of the page.
        metrics: lines of metrics.jsonl, for the curves.
        config: the resolved configuration as YAML.
        environment: versions and machine; nested mappings become dotted names.
        note: a sentence below the title.

    Raises:
        DiskError: the folder cannot be written.
    """
    text = render_report(
        comparison,
        title=title,
        metrics=metrics,
        config=config,
        environment=environment,
        note=note,
    )
    write_atomic(path, text)


def render_report(
    comparison: Comparison,
    *,
    title: str,
    metrics: Sequence[Mapping[str, object]] = (),
    config: str = "",
    environment: Mapping[str, object] | None = None,
    note: str = "",
) -> str:
    """Return the report as HTML; arguments as in `write_report`."""
    names = sorted({name for facts in comparison.facts.values() for name in facts})
    values = {
        "title": plain(title),
        "note": plain(note),
        "a": plain(comparison.a),
        "b": plain(comparison.b),
        "rates": [_rate(comparison, name) for name in comparison.rates],
        "warnings": [plain(warning) for warning in comparison.warnings()],
        "scales": [(info.id, info.scale) for info in comparison.infos.values()],
        "cards": list(_cards(comparison)),
        "small": max(comparison.images.shape[-2:]) <= SMALL,
        "prompts": len(comparison.prompts),
        "seeds": len(comparison.seeds),
        "level": f"{LEVEL:.0%}",
        "panels": panels(metrics),
        "width": WIDTH,
        "left": LEFT,
        "right": WIDTH - RIGHT,
        "height": HEIGHT,
        "facts": [
            (name, *(plain(comparison.facts[side].get(name, "")) for side in comparison.facts))
            for name in names
        ],
        "sides": [plain(side) for side in comparison.facts],
        "config": config,
        "environment": [(name, plain(value)) for name, value in _flat(environment or {})],
    }
    return render_page(TEMPLATE, values)


def _rate(comparison: Comparison, scorer: str) -> dict[str, Any]:
    rate = comparison.rates[scorer]
    a, b = comparison.means(scorer)
    return {
        **asdict(rate),
        "scorer": scorer,
        "mean_a": number(a),
        "mean_b": number(b),
        "gap": number(rate.difference, "+.3f"),
        "gap_low": number(rate.difference_low, "+.3f"),
        "gap_high": number(rate.difference_high, "+.3f"),
        "sign": p_value(rate.sign_p),
        "permutation": p_value(rate.permutation_p),
        "verdict": verdict(rate),
    }


def verdict(rate: WinRate) -> str:
    """Say whether the interval excludes one half: better, worse or even."""
    if rate.low > 0.5:
        return "better"
    return "worse" if rate.high < 0.5 else "even"


def number(value: float, how: str = ".3f") -> str:
    """Return a number with a true minus sign and no minus zero."""
    text = format(value, how)
    return "0" if float(text) == 0 else text.replace("-", "\u2212")


def p_value(value: float) -> str:
    return "< 0.001" if value < 1e-3 else f"{value:.3f}"


def _cards(comparison: Comparison) -> Iterator[Card]:
    for p in range(comparison.images.shape[1]):
        for s, seed in enumerate(comparison.seeds):
            yield Card(
                prompt=plain(comparison.prompts[p]),
                seed=seed,
                a=data_uri(comparison.images[0, p, s]),
                b=data_uri(comparison.images[1, p, s]),
                judged=tuple(
                    _judged(scorer, float(a[p, s]), float(b[p, s]))
                    for scorer, (a, b) in comparison.scores.items()
                ),
            )


def _judged(scorer: str, a: float, b: float) -> Judged:
    difference = number(a - b, "+.3f")
    sign = "even" if difference == "0" else "up" if a > b else "down"
    return Judged(scorer=scorer, a=number(a), b=number(b), difference=difference, sign=sign)


def _flat(tree: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", str(value)
