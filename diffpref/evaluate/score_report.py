"""The one-file page of scored images: histograms, the best and the worst, what was flagged."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from statistics import fmean, median, pstdev
from typing import Any

from diffpref.evaluate.curves import HEIGHT, LEFT, RIGHT, WIDTH
from diffpref.evaluate.grid import plain
from diffpref.evaluate.histogram import histogram
from diffpref.evaluate.page import render_page
from diffpref.evaluate.pictures import picture_uri
from diffpref.evaluate.report import number
from diffpref.evaluate.scoring import ScoredImages
from diffpref.io import BadImage, open_image, write_atomic
from diffpref.rewards import ScorerInfo

TEMPLATE = "score_report.html.j2"
SHOWN = 12
"""Images of a contact sheet."""

SIDE = 256
"""Longer side of a picture on it, in pixels."""

MOST_TROUBLES = 200


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One picture of a contact sheet, ready to print; `picture` is empty if it does not open."""

    picture: str
    file: str
    prompt: str
    score: str
    flags: str


def write_score_report(path: Path, scored: ScoredImages, *, title: str, dtype: str) -> None:
    """Write the page as a whole or not at all.

    Args:
        path: the HTML file.
        scored: images and verdicts.
        title: of the page.
        dtype: precision of the scorers.

    Raises:
        DiskError: the folder cannot be written.
    """
    write_atomic(path, render_score_report(scored, title=title, dtype=dtype))


def render_score_report(scored: ScoredImages, *, title: str, dtype: str) -> str:
    """Return the page as HTML; arguments as in `write_score_report`."""
    pictures: dict[Path, str] = {}
    troubles = [
        (plain(file.name), scorer, ", ".join(verdict.flags), plain(verdict.reason))
        for file, scorer, verdict in scored.troubles()
    ]
    return render_page(
        TEMPLATE,
        {
            "title": plain(title),
            "images": len(scored.files),
            "prompts": len(set(scored.prompts)),
            "scorers": [_section(scored, name, pictures) for name in scored.verdicts],
            "troubles": troubles[:MOST_TROUBLES],
            "more_troubles": max(0, len(troubles) - MOST_TROUBLES),
            "infos": [_identity(info, dtype) for info in scored.infos.values()],
            "width": WIDTH,
            "left": LEFT,
            "right": WIDTH - RIGHT,
            "height": HEIGHT,
        },
    )


def _section(scored: ScoredImages, name: str, pictures: dict[Path, str]) -> Mapping[str, Any]:
    values = scored.values(name)
    order = sorted(
        (row for row, value in enumerate(values) if isfinite(value)),
        key=lambda row: values[row],
        reverse=True,
    )
    best = order[: min(SHOWN, -(-len(order) // 2))]
    worst = order[len(best) :][::-1][:SHOWN]
    return {
        "name": name,
        "scale": scored.infos[name].scale,
        "facts": _facts([values[row] for row in order], len(values)),
        "histogram": histogram(values),
        "best": list(_cells(scored, name, best, pictures)),
        "worst": list(_cells(scored, name, worst, pictures)),
    }


def _facts(values: Sequence[float], images: int) -> list[tuple[str, str]]:
    told = [("scored", f"{len(values)} of {images}")]
    if values:
        told += [
            ("mean", number(fmean(values), ".4f")),
            ("median", number(median(values), ".4f")),
            ("deviation", number(pstdev(values), ".4f")),
            ("lowest", number(min(values), ".4f")),
            ("highest", number(max(values), ".4f")),
        ]
    return told


def _cells(
    scored: ScoredImages, name: str, rows: Sequence[int], pictures: dict[Path, str]
) -> Iterator[Cell]:
    for row in rows:
        file, verdict = scored.files[row], scored.verdicts[name][row]
        if file not in pictures:
            pictures[file] = _picture(file)
        yield Cell(
            picture=pictures[file],
            file=plain(file.name),
            prompt=plain(scored.prompts[row]),
            score=number(verdict.value, ".4f"),
            flags=", ".join(verdict.flags),
        )


def _picture(file: Path) -> str:
    try:
        return picture_uri(open_image(file, where=file.name), most=SIDE)
    except BadImage:  # it was there when it was scored
        return ""


def _identity(info: ScorerInfo, dtype: str) -> list[tuple[str, str]]:
    weights = "; ".join(f"{each.file} ({each.layout}) {each.sha256}" for each in info.weights)
    return [
        ("scorer", info.id),
        ("kind", info.kind),
        ("weights", plain(weights) or "none"),
        ("pictures", info.preprocess_id),
        ("prompts", info.tokenizer_id),
        ("precision", dtype),
        ("licence", info.licence),
    ]
