"""The leaderboard as JSON, Markdown and a picture."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffpref.evaluate.winrate import outcomes
from diffpref.io import write_atomic, write_json
from scripts.board.figure import draw
from scripts.board.rows import REFERENCE_ROW, ROWS
from scripts.board.statistics import bootstrapped, holm

Facts = dict[str, Any]
"""What the board keeps of one run."""


def scores(facts: Facts) -> Tensor:
    return torch.tensor(facts["oracle"])


def write_table(
    out: Path,
    rows: Mapping[str, Sequence[Facts]],
    base: Facts,
    about: Mapping[str, Any],
) -> None:
    """Write leaderboard.json, .md and .png of the rows that are finished."""
    ours = {name: _by_seed(runs) for name, runs in rows.items()}
    theirs = _by_seed([base] * len(about["settings"]["seeds"]))
    n = len(theirs)
    against_base = holm({name: bootstrapped(own, theirs) for name, own in ours.items()}, n)
    rivals = ours[REFERENCE_ROW]
    others = {name: own for name, own in ours.items() if name != REFERENCE_ROW}
    against_dpo = holm({name: bootstrapped(own, rivals) for name, own in others.items()}, n)
    table = {
        name: {
            **asdict(ROWS[name]),
            "vs_base": asdict(against_base[name]),
            "vs_dpo": asdict(against_dpo[name]) if name in against_dpo else None,
            "by_seed": [
                float(outcomes(own[:, [s]], theirs[:, [s]]).mean()) for s in range(own.shape[1])
            ],
            "utility_gain": float((own - theirs).mean()),
            **{what: _mean(runs, what) for what in MEANS},
            "lr": runs[0]["lr"],
            "draws": runs[0]["draws"],
        }
        for (name, runs), own in zip(rows.items(), ours.values(), strict=True)
    }
    whole = {
        **about,
        "device": "cpu, fp32",
        "base": {what: base[what] for what in ("fidelity", "reward", "diversity")},
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
    lines += ["", "## Reading it", "", *READING]
    if whole["missing"]:
        lines += ["", "Not run yet: " + ", ".join(whole["missing"]) + "."]
    return "\n".join(lines) + "\n"


READING = (
    "- Compare UNet work, not seconds: the machine was shared, and the train seconds of some rows "
    "hold the waiting for others.",
    "- The step the network is told and the beta of the inpo and smpo presets were not chosen "
    "blind to the test prompts ([choosing a method](../choosing-a-method.md)).",
    "- smpo's headline row is explained by its learning-rate search ([log](../log.md)).",
    "- The feature passes of NCP come on top of the column of UNet work.",
)

MEANS = ("fidelity", "reward", "diversity", "drift", "seconds", "unet_units")

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


def _by_seed(runs: Sequence[Facts]) -> Tensor:
    return torch.stack([scores(facts) for facts in runs], dim=1)


def _mean(runs: Sequence[Facts], what: str) -> float:
    return sum(float(facts[what]) for facts in runs) / len(runs)
