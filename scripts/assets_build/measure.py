"""Stage 5: the quality bars of the bundled assets on held-out prompts, into docs/assets.md."""

import json
import platform
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor

from diffpref.assets import assets_root
from diffpref.evaluate.bootstrap import bootstrap_means
from diffpref.io import write_atomic
from diffpref.rewards import load_scorer
from diffpref.world.captions import parse
from diffpref.world.oracle import rules
from diffpref.world.people import population_taste, utility
from diffpref.world.render import render
from diffpref.world.scene import sample_scenes
from diffpref.world.taste import attributes
from scripts.assets_build import base as base_stage
from scripts.assets_build import reward as reward_stage
from scripts.assets_build import vae as vae_stage
from scripts.assets_build.pairs import GUIDANCE, STEPS, load_base
from scripts.assets_build.stage import summary

PROMPTS = 400
DEEP_PROMPTS = 64
"""Prompts with 16 samples each."""

BEST_OF = 16
RENDERED = 64
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A measured bar: the value, its 95 % interval, and what it must be (NaN: nothing)."""

    name: str
    value: float
    low: float
    high: float
    bar: float
    n: str


def build(work: Path) -> None:
    """Measure every bar and write docs/assets.md."""
    prompts = (assets_root() / "prompts" / "test.txt").read_text().splitlines()
    pipeline = load_base(assets_root() / "base")
    bars = [*_fidelity(pipeline, prompts[:PROMPTS]), _psnr(pipeline), _reward(work)]
    bars += _room(pipeline, prompts[:DEEP_PROMPTS])
    stages = {
        name: summary(name, work)
        for name in ("vae", "base", "base-layout", "reward-contrastive", "reward-votes")
        if (work / f"{name}.json").exists()
    }
    write_atomic(ROOT / "docs" / "assets.md", _page(bars, stages))


def _bar(name: str, values: Tensor, bar: float, n: str) -> Bar:
    interval = bootstrap_means(values.double()[None])[0]
    return Bar(
        name=name,
        value=float(values.double().mean()),
        low=interval.low,
        high=interval.high,
        bar=bar,
        n=n,
    )


def _fidelity(pipeline: StableDiffusionPipeline, prompts: list[str]) -> list[Bar]:
    images = base_stage.sample(pipeline, prompts, seed=1, guidance=GUIDANCE, steps=STEPS)
    scores = rules(images, tuple(prompts))
    every = torch.stack(list(scores.values()), dim=1)
    n = f"{len(prompts)} test prompts, one seed"
    bars = [_bar("base prompt fidelity, mean over stated rules", every.nanmean(dim=1), 0.85, n)]
    for name, column in scores.items():
        stated = column[~column.isnan()]
        if not len(stated):
            continue
        bar = 0.85 if name == "count" else float("nan")
        bars.append(
            _bar(f"base fidelity, rule {name} alone", stated, bar, f"{len(stated)} prompts")
        )
    return bars


def _psnr(pipeline: StableDiffusionPipeline) -> Bar:
    images = vae_stage.pixels(vae_stage.SEED, torch.tensor(list(vae_stage.HELD_OUT)))
    values = vae_stage.psnr(pipeline.vae, images)
    return _bar("VAE reconstruction PSNR, dB", values, 28.0, f"{len(images)} held-out scenes")


def _reward(work: Path) -> Bar:
    found = reward_stage.held_out_accuracy(work, load_scorer("world-reward"))
    half = 1.96 * found["standard_error"]
    return Bar(
        name="reward accuracy on clean population pairs",
        value=found["accuracy"],
        low=found["accuracy"] - half,
        high=found["accuracy"] + half,
        bar=0.75,
        n=f"{found['pairs']:.0f} pairs of the base's samples, {found['prompts']:.0f} test prompts",
    )


def _room(pipeline: StableDiffusionPipeline, prompts: list[str]) -> list[Bar]:
    told = tuple(prompts)
    samples = [
        base_stage.sample(pipeline, prompts, seed=100 + seed, guidance=GUIDANCE, steps=STEPS)
        for seed in range(BEST_OF)
    ]
    worth = torch.stack([utility(images, told) for images in samples], dim=1)
    liked, best = [], []
    for row, prompt in enumerate(prompts):
        stated = [parse(prompt)] * RENDERED
        scenes = sample_scenes(77, torch.arange(row * RENDERED, (row + 1) * RENDERED), stated)
        images = render(scenes)
        liked.append(attributes(images) @ population_taste())
        best.append(utility(images, (prompt,) * RENDERED).max())
    spread = torch.stack(liked).var(dim=1).mean().sqrt()
    room = (worth.max(dim=1).values - worth.mean(dim=1)) / spread
    beats = (torch.stack(best) > worth[:, 0]).double()
    n = f"{len(prompts)} test prompts x {BEST_OF} samples"
    return [
        _bar("room: best of 16 minus mean, in std of the free taste", room, 0.5, n),
        _bar("best of 64 renderings beats the base", beats, 0.9, f"{len(prompts)} test prompts"),
    ]


def _page(bars: list[Bar], stages: dict[str, dict[str, object]]) -> str:
    lines = [
        "# The bundled assets",
        "",
        "Trained by `scripts/build_assets.py` on scenes, captions and votes that "
        "`diffpref/world` makes; nothing is taken from elsewhere. This page is written by its "
        "stage `measure`.",
        "",
        "## Quality, on held-out prompts",
        "",
        "| what | value | 95 % interval | bar | reached | n |",
        "|---|---|---|---|---|---|",
    ]
    for bar in bars:
        known = bar.bar == bar.bar  # NaN: no bar was set
        reached = ("yes" if bar.value >= bar.bar else "**no**") if known else ""
        shown = f"{bar.bar:g}" if known else ""
        lines.append(
            f"| {bar.name} | {bar.value:.3f} | {bar.low:.3f} to {bar.high:.3f} | {shown} | "
            f"{reached} | {bar.n} |"
        )
    lines += [
        "",
        f"Samples: DDIM, {STEPS} steps, guidance {GUIDANCE:g}, float32 on the CPU "
        f"({platform.machine()}, {torch.get_num_threads()} threads). Intervals: bootstrap over "
        "prompts, scenes or pairs.",
        "",
        "## How they were made",
        "",
        "| stage | steps | seconds | first loss | last loss |",
        "|---|---|---|---|---|",
    ]
    for name, stage in stages.items():
        lines.append(
            f"| {name} | {stage['step']} | {stage['seconds']} | {stage['first_loss']} | "
            f"{stage['last_loss']} |"
        )
    manifest = json.loads((assets_root() / "manifest.json").read_text())
    splits = ("train", "validation", "test")
    rows = [
        f"| {split} | {manifest[split]['prompts']} | {manifest[split]['pairs']} | "
        f"{len(manifest[split]['people'])} |"
        for split in splits
    ]
    lines += [
        "",
        "Float32 on two CPU threads, seeds 11 (VAE), 12 (base), 13 (pairs), 14 (reward); seconds "
        "are wall time on a machine shared with other work.",
        "",
        "Beside them lies `bt-world` (`assets/bt-world.safetensors`, 8 kB): the population that "
        f"profiles start from, how the tastes of the {len(manifest['train']['people'])} training "
        "people spread over features of the reward. `scripts/build_prior.py` learns it from their "
        f"votes and chooses its sizes on the {len(manifest['validation']['people'])} validation "
        "people ([profiles](profiles.md)).",
        "",
        "## Splits",
        "",
        "Prompts and people belong to one split each, by a hash of their name; image hashes are in "
        "`assets/manifest.json`.",
        "",
        "| split | prompts | voted pairs | people |",
        "|---|---|---|---|",
        *rows,
        "",
    ]
    return "\n".join(lines)
