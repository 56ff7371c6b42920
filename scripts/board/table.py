"""The leaderboard as JSON, Markdown and a picture."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffpref.io import write_atomic, write_json
from scripts.board.figure import draw
from scripts.board.measures import diversity, drift
from scripts.board.rows import REFERENCE_ROW, ROWS
from scripts.board.statistics import bootstrapped, holm

Runs = Sequence[tuple[Tensor, dict[str, Any]]]
"""One row's images and facts per training seed."""


def write_table(
    out: Path,
    rows: Mapping[str, Runs],
    base: tuple[Tensor, dict[str, Any]],
    about: Mapping[str, Any],
) -> None:
    """Write leaderboard.json, .md and .png of the rows that are finished."""
    seeds = len(about["settings"]["seeds"])
    theirs = _scores([base] * seeds, "world-oracle")
    rivals = _scores(rows[REFERENCE_ROW], "world-oracle")
    ours = {name: _scores(runs, "world-oracle") for name, runs in rows.items()}
    n = about["settings"]["test_prompts"]
    against_base = holm({name: bootstrapped(own, theirs) for name, own in ours.items()}, n)
    others = {name: own for name, own in ours.items() if name != REFERENCE_ROW}
    against_dpo = holm({name: bootstrapped(own, rivals) for name, own in others.items()}, n)
    table = {
        name: {
            **asdict(ROWS[name]),
            "vs_base": asdict(against_base[name]),
            "vs_dpo": asdict(against_dpo[name]) if name in against_dpo else None,
            "utility_gain": float((ours[name] - theirs).mean()),
            "fidelity": float(_scores(runs, "world-fidelity").mean()),
            "reward": float(_scores(runs, "world-reward").mean()),
            "diversity": _mean([diversity(images) for images, _ in runs]),
            "drift": _mean([drift(images, base[0]) for images, _ in runs]),
            "lr": runs[0][1]["lr"],
            "draws": runs[0][1]["draws"],
            "seconds": _mean([facts["seconds"] for _, facts in runs]),
            "unet_units": _mean([facts["unet_units"] for _, facts in runs]),
        }
        for name, runs in rows.items()
    }
    whole = {
        **about,
        "device": "cpu, fp32",
        "base": {
            "fidelity": float(_scores([base], "world-fidelity").mean()),
            "reward": float(_scores([base], "world-reward").mean()),
            "diversity": diversity(base[0]),
        },
        "rows": table,
        "missing": [name for name in ROWS if name not in table],
    }
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "leaderboard.json", whole)
    write_atomic(out / "leaderboard.md", markdown(whole))
    write_atomic(out / "leaderboard.png", draw(table))


def markdown(whole: Mapping[str, Any]) -> str:
    """Return the table in Markdown, best first, ablations after the methods."""
    settings, base, table = whole["settings"], whole["base"], whole["rows"]
    lines = [
        "# Leaderboard: every method on the bundled world",
        "",
        f"The {whole['form']} form: {settings['draws']} pairs drawn a run ({settings['pairs']} a "
        f"step), learning rate chosen from {', '.join(f'{lr:g}' for lr in settings['rates'])} at "
        f"{settings['search_draws']} draws on {settings['validation_prompts']} validation "
        f"prompts, {len(settings['seeds'])} training seeds, {settings['test_prompts']} held-out "
        f"test prompts at {settings['sampler_steps']} DDIM steps, the same noise for all.",
        f"Made by `python scripts/leaderboard.py --form {whole['form']}` on "
        f"{whole['machine']['processor']} ({whole['machine']['gemm_gflops']:g} GFLOP/s fp32 GEMM), "
        f"{whole['device']}. Other strengths (beta and its like) are those of configs/shapes and "
        "were not searched.",
        "",
        "Win rates are the oracle's; intervals are bootstraps over prompts and training seeds at "
        "the level Holm's procedure leaves each row (family-wise 95 %). Utility is in the "
        "population's units; fidelity, diversity (mean distance in oracle attributes) and drift "
        "(shift of statistics nobody has a taste about, in standard deviations of the base) are "
        "means over seeds. UNet work counts a backward pass as two forward passes.",
        "",
        f"Base: fidelity {base['fidelity']:.3f}, diversity {base['diversity']:.3f}.",
    ]
    groups = dict.fromkeys(["method", *(row["group"] for row in table.values())])
    for group in groups:
        members = {name: row for name, row in table.items() if row["group"] == group}
        lines += ["", f"## {'Methods' if group == 'method' else f'Ablation: {group}'}", "", *HEAD]
        order = sorted(members, key=lambda name: -members[name]["vs_base"]["rate"])
        lines += [_line(name, members[name]) for name in order]
    if whole["missing"]:
        lines += ["", "Not run yet: " + ", ".join(whole["missing"]) + "."]
    return "\n".join(lines) + "\n"


HEAD = [
    "| row | learns from | vs base | vs Diffusion-DPO | utility | fidelity | diversity | drift "
    "| lr | pairs | UNet work | train s |",
    "|---|---|---|---|---|---|---|---|---|---|---|---|",
]


def _line(name: str, row: Mapping[str, Any]) -> str:
    return (
        f"| {name} | {row['data']} | {_rate(row['vs_base'])} | {_rate(row['vs_dpo'])} "
        f"| {row['utility_gain']:+.3f} | {row['fidelity']:.3f} | {row['diversity']:.3f} "
        f"| {row['drift']:.3f} | {row['lr']:g} | {row['draws']} | {row['unet_units']:.0f} "
        f"| {row['seconds']:.0f} |"
    )


def _rate(rate: Mapping[str, float] | None) -> str:
    return "" if rate is None else f"{rate['rate']:.3f} ({rate['low']:.3f} to {rate['high']:.3f})"


def _scores(runs: Runs, scorer: str) -> Tensor:
    return torch.tensor([facts["scores"][scorer] for _, facts in runs]).T


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
