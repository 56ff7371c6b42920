"""The online board as JSON, Markdown and a picture."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffpref.evaluate.winrate import outcomes
from diffpref.io import write_atomic, write_json
from scripts.board.statistics import bootstrapped, holm
from scripts.online.figure import draw
from scripts.online.rows import FORM, ROWS

Facts = dict[str, Any]
LIMIT = 0.1
"""Drift up to which a method's best utility is told."""

NOTES = """Read with care:

- Only the learning rate was searched, on 15,000 forwards, and every row took the larger one; beta,
  clip ranges and the rest are the presets'. The flat rows (ddpo, grpo, d3po) see 512 to 640 images
  in this budget, and stay flat with a wider clip range or a larger rate (docs/log.md).
- Fidelity is how much of the prompt the oracle sees (base 0.959). Where it falls, the training
  reward is being exploited: refl, draft, alignprop and tailorpo_no_kl gain utility and lose the
  prompt.
- Rows were made by commits 64dacc1 to d08b0ba. Since then items of a round are spread over t, so
  that step and walk methods do not reproduce them bit for bit.
- Not counted: the reward's zero and unit (768 forwards a run), and what lpo's reward of noisy
  latents cost to learn from the bundled votes. That head is its reward: the reward column of every
  row is `world-reward`.
"""


def gain(facts: Facts) -> float:
    """Return how much the mean oracle utility rose until the end; a run that broke gained none."""
    marks = facts["marks"]
    whole = facts["ended"] == "budget" and len(marks) > 1
    return _mean(marks[-1]["oracle"]) - _mean(marks[0]["oracle"]) if whole else float("-inf")


def write_table(out: Path, rows: Mapping[str, Sequence[Facts]], machine: Mapping[str, Any]) -> None:
    """Write online.json, .md and .png of the rows that have runs."""
    ends = {name: _by_seed(runs, -1) for name, runs in rows.items()}
    starts = {name: _by_seed(runs, 0) for name, runs in rows.items()}
    won = holm({name: bootstrapped(own, starts[name]) for name, own in ends.items()}, FORM.prompts)
    table = {
        name: {
            **asdict(ROWS[name]),
            "lr": runs[0]["lr"],
            "seeds": [facts["seed"] for facts in runs],
            "ended": [facts["ended"] for facts in runs],
            "vs_base": asdict(won[name]),
            "by_seed": [
                float(outcomes(ends[name][:, [s]], starts[name][:, [s]]).mean())
                for s in range(len(runs))
            ],
            "curve": curve(runs),
            "within": _within(runs),
        }
        for name, runs in rows.items()
    }
    whole = {
        "settings": asdict(FORM),
        "machine": dict(machine),
        "device": "cpu, fp32",
        "rows": table,
        "missing": [name for name in ROWS if len(rows.get(name, [])) < len(FORM.seeds)],
    }
    write_json(out / "online.json", whole)
    write_atomic(out / "online.md", markdown(whole))
    write_atomic(out / "online.png", draw({name: row["curve"] for name, row in table.items()}))


def curve(runs: Sequence[Facts]) -> list[dict[str, float]]:
    """Return the mean over seeds of what was measured at every mark all runs reached."""
    marks = min(len(facts["marks"]) for facts in runs)
    names = ("unet", "rewards", "decoded", "seconds", "fidelity", "reward", "diversity", "drift")
    return [
        {
            **{name: _mean([facts["marks"][m][name] for facts in runs]) for name in names},
            "oracle": _mean([_mean(facts["marks"][m]["oracle"]) for facts in runs]),
        }
        for m in range(marks)
    ]


def markdown(whole: Mapping[str, Any]) -> str:
    """Return the table in Markdown, highest utility within the drift limit first."""
    form, table = whole["settings"], whole["rows"]
    lines = [
        "# Online methods: reward against drift at equal work",
        "",
        f"Every run spends {form['forwards']:,} UNet forward passes of one image, everything "
        "counted (guidance twice, a backward as two), rewarded by `world-reward` and measured by "
        f"the oracle on {form['prompts']} test prompts at {form['sampler_steps']} DDIM steps. The "
        f"learning rate is the better of {', '.join(f'{lr:g}' for lr in form['rates'])} at "
        f"{form['search_forwards']:,} forwards on {form['search_prompts']} validation prompts; "
        "nothing else was searched.",
        f"{whole['machine']['processor']} ({whole['machine']['gemm_gflops']:g} GFLOP/s fp32 "
        f"GEMM), {whole['device']}. Intervals: bootstrap over prompts and seeds, Holm-corrected.",
        "",
        f"| row | seeds | win rate over base | utility | reward | fidelity | diversity | drift "
        f"| best utility at drift < {LIMIT:g} | reward calls | lr |",
        "|" + "---|" * 11,
    ]
    for name in sorted(table, key=lambda each: -table[each]["within"]["utility"]):
        row, end = table[name], table[name]["curve"][-1]
        rate, start = row["vs_base"], table[name]["curve"][0]
        broke = [why for why in row["ended"] if why != "budget"]
        lines.append(
            f"| {name}{' (stopped: ' + broke[0] + ')' if broke else ''} | {len(row['seeds'])} "
            f"| {rate['rate']:.3f} ({rate['low']:.3f} to {rate['high']:.3f}) "
            f"| {end['oracle'] - start['oracle']:+.3f} | {end['reward'] - start['reward']:+.2f} "
            f"| {end['fidelity']:.3f} | {end['diversity']:.2f} | {end['drift']:.3f} "
            f"| {row['within']['utility']:+.3f} at {row['within']['unet']:.0f} "
            f"| {end['rewards']:.0f} | {row['lr']:g} |"
        )
    if whole["missing"]:
        lines += ["", f"Missing or with fewer seeds: {', '.join(whole['missing'])}."]
    return "\n".join([*lines, "", NOTES])


def _within(runs: Sequence[Facts]) -> dict[str, float]:
    """Return the highest utility gain at a mark within the drift limit, and the work until it."""
    points = curve(runs)
    start = points[0]["oracle"]
    inside = [point for point in points if point["drift"] < LIMIT]
    best = max(inside, key=lambda point: point["oracle"])
    return {"utility": best["oracle"] - start, "unet": best["unet"]}


def _by_seed(runs: Sequence[Facts], mark: int) -> Tensor:
    return torch.tensor([facts["marks"][mark]["oracle"] for facts in runs]).T


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
