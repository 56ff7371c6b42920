"""The page of scorers as users: JSON, Markdown and a picture."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from diffpref.evaluate.winrate import win_rate
from diffpref.io import png_bytes, write_atomic, write_json

Tree = Mapping[str, Any]
SHARES = (0.25, 0.5, 0.75)
"""Of the second of two scorers whose profiles are mixed."""

INK, PALE, BLUE, ORANGE = (40, 40, 40), (220, 220, 220), (38, 99, 168), (200, 110, 30)
PANEL, GAP = 220, 60


def write_page(out: Path, lines: Sequence[Tree], about: Tree) -> None:
    """Write reward-users.json, .md and .png of what has been measured."""
    users: Sequence[str] = about["users"]
    scores = {str(line["row"]): line["scores"] for line in lines}
    told = [user for user in users if f"ppd/{user}" in scores]
    whole: dict[str, Any] = {
        **about,
        "means": {
            row: {user: _mean(scores[row][user]) for user in users}
            for row in ("base", "pooled", *(f"ppd/{user}" for user in told))
            if row in scores
        },
        "wins": {user: _wins(scores, user, told) for user in told},
        "mixes": [
            curve for pair in combinations(users, 2) if (curve := _curve(scores, *pair)) is not None
        ],
    }
    write_json(out / "reward-users.json", whole)
    write_atomic(out / "reward-users.md", markdown(whole))
    write_atomic(out / "reward-users.png", draw(whole))


def _mean(scores: Any) -> float:
    return float(torch.tensor(scores).double().mean())


def _wins(scores: Mapping[str, Tree], user: str, told: Sequence[str]) -> Tree:
    """Return how the images for a scorer do by its own scores."""
    own = torch.tensor(scores[f"ppd/{user}"][user])
    others = {f"ppd told of {each}": f"ppd/{each}" for each in told if each != user}
    rows = {"base": "base", "pooled": "pooled"} | others
    return {
        name: asdict(win_rate(own, torch.tensor(scores[row][user])))
        for name, row in rows.items()
        if row in scores
    }


def _curve(scores: Mapping[str, Tree], first: str, second: str) -> dict[str, Any] | None:
    """Return both scorers' means along the way from one profile to the other.

    In units of the whole way: 0 is the images for the other scorer, 1 those for the scorer itself.
    """
    rows = [f"ppd/{first}", *(f"mix/{first}/{second}/{share}" for share in SHARES)]
    rows.append(f"ppd/{second}")
    if any(row not in scores for row in rows):
        return None
    found: dict[str, Any] = {"first": first, "second": second, "shares": [0.0, *SHARES, 1.0]}
    for name, user, signs in (("first", first, -1), ("second", second, 1)):
        means = torch.tensor([_mean(scores[row][user]) for row in rows]).double()
        found[f"{name}_means"] = means.tolist()
        found[f"{name}_smooth"] = _smooth(signs * means)
    return found


def _smooth(means: Tensor) -> dict[str, Any]:
    """Tell whether means only rise, and the largest of the four steps as a share of them all.

    The share is absent where the whole way does not rise.
    """
    steps = means.diff()
    whole = float(steps.sum())
    return {
        "only_rises": bool((steps > 0).all()),
        "largest_step": float(steps.max()) / whole if whole > 0 else None,
        "whole": whole,
    }


def markdown(whole: Tree) -> str:
    """Return the page."""
    users: Sequence[str] = whole["users"]
    machine = whole["machine"]
    parts = [
        "# Scorers as users",
        "",
        f"Each of {len(users)} scorers voted for its best against its worst of 8 images of "
        f"{whole['votes'] // len(users)} training prompts. One user adapter, told the profile of a "
        "scorer's votes (`users.zeros: silent`), against one LoRA on all votes (Diffusion-DPO), "
        f"{whole['steps']} steps each; {whole['prompts']} test prompts, {whole['seeds']} image "
        "seed, 12 DDIM steps, "
        "strength 1, the same noise for all. Judged by the scorers, who are the users. One "
        "training seed; nothing was chosen on test prompts. Intervals (95 %) resample prompts.",
        "",
        f"`python scripts/people/reward_users.py` on {machine['processor']} "
        f"({machine['gemm_gflops']} GFLOP/s fp32 GEMM).",
        "",
        "## Mean scores",
        "",
        *_table(["model", *users], [[r, *_row(m, users)] for r, m in whole["means"].items()]),
        "",
        "## How often the images for a scorer beat others, by its own score",
        "",
        *_win_rows(whole),
        "",
        "## Between two profiles",
        "",
        *_mix_rows(whole["mixes"]),
        "",
        "![means between two profiles](reward-users.png)",
        "",
    ]
    return "\n".join(parts)


def _row(means: Mapping[str, float], users: Sequence[str]) -> list[str]:
    return [f"{means[user]:.4f}" for user in users]


def _win_rows(whole: Tree) -> list[str]:
    rows = [
        [user, name, f"{found['rate']:.3f} ({found['low']:.3f} to {found['high']:.3f})"]
        for user, against in whole["wins"].items()
        for name, found in against.items()
    ]
    return _table(["scorer", "against", "win rate"], rows)


def _mix_rows(mixes: Sequence[Tree]) -> list[str]:
    rows: list[list[str]] = []
    for curve in mixes:
        for name in ("first", "second"):
            means, smooth = curve[f"{name}_means"], curve[f"{name}_smooth"]
            rows.append(
                [
                    f"{curve['first']} to {curve['second']}",
                    curve[name],
                    *(f"{mean:.4f}" for mean in means),
                    "yes" if smooth["only_rises"] else "no",
                    "" if smooth["largest_step"] is None else f"{smooth['largest_step']:.2f}",
                ]
            )
    shares = [f"share {share:g}" for share in (0, *SHARES, 1)]
    return _table(["profiles", "mean of", *shares, "towards it only rises", "largest step"], rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def draw(whole: Tree) -> bytes:
    """Return the curves between two profiles, each scorer's mean in units of its whole way."""
    mixes: Sequence[Tree] = whole["mixes"]
    width = max(len(mixes), 1) * (PANEL + GAP) + GAP
    image = Image.new("RGB", (width, PANEL + 2 * GAP), "white")
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(12)
    for place, curve in enumerate(mixes):
        left = GAP + place * (PANEL + GAP)
        pen.rectangle([left, GAP, left + PANEL, GAP + PANEL], outline=PALE)
        for name, tone, dy in (("first", BLUE, 36), ("second", ORANGE, 18)):
            pen.text((left, GAP - dy), f"{curve[name]}", tone, font)
            means = torch.tensor(curve[f"{name}_means"])
            span = (means.max() - means.min()).clamp_min(1e-9)
            heights = ((means - means.min()) / span).tolist()
            points = [
                (left + share * PANEL, GAP + (1 - height) * PANEL)
                for share, height in zip(curve["shares"], heights, strict=True)
            ]
            pen.line(points, tone, 2)
        pen.text((left, GAP + PANEL + 6), "share of the second profile: 0 to 1", INK, font)
    return png_bytes(image, {"what": "scorers as users"})
