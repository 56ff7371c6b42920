"""`diffpref train-reward`: a head on cached embeddings that learns people's votes in seconds."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffpref.cli import data_options as data
from diffpref.cli import reward_options as reward
from diffpref.cli import sample_options as options
from diffpref.cli.app import verb_app, write_json
from diffpref.cli.progress import progress_bars
from diffpref.cli.reward_table import show_reward
from diffpref.cli.values import words
from diffpref.errors import UsageError

if TYPE_CHECKING:
    from diffpref.run.calibrate import EnsembleJob
    from diffpref.run.train_reward import RewardJob

ABOUT = """Learn what people like from their votes, on the cached embeddings of a frozen scorer.

Every picture and prompt is embedded once and kept; a head on top learns in seconds:

\b
  bradley-terry  one taste for all, as PickScore (no people)
  lore           K shared rewards, mixed by each person's K weights
  pal-a          each person's ideal point, a mixture of K prototypes
  pal-b          the same, where the ideal point follows the prompt
  mixture        K experts, routed by prompt and person (MiCRo)
  gpm            pairs only; preferences may go in circles
  ensemble       no embeddings: several --scorer weighted by the votes (MetaMetrics)
  bt-prior       how tastes are spread over people: the --prior of `diffpref profile`
  latent         noisy latents of --base, for method lpo: the base's own features (LPO)
  step-aware     noisy latents of --base, for spo: their clean prediction, embedded (SPO)

\b
  diffpref train-reward builtin:pairs --head lore --out heads/lore
  diffpref train-reward my/votes.jsonl --head pal-a --out heads/me --split prompt
  diffpref train-reward my/votes.jsonl --embedder pickscore --features laion-aesthetic-v2,warmth \\
    --out heads/us
  diffpref train-reward builtin:pairs --head latent --base builtin:base --out heads/latent

The test holds new people (--split user: their few weights are fitted to half of their votes, with
all else frozen, and tested on the other half) or new prompts of known people (--split prompt).
OUT holds the head (head.json, head.safetensors), report.json and report.html: loss, accuracy,
reliability, accuracy after 0 to 10 votes of a new person and, on builtin:pairs, whose voters'
tastes are known exactly, recovered tastes and the ceilings. An interrupted embedding goes on.
latent and step-aware are one taste for all, tested on new prompts, with the accuracy at every
noise level; an online run takes them as reward.scorer: noisy:OUT.
"""

app = verb_app(ABOUT)

FEATURELESS = {
    "bt-prior": "leave it out: a population reads the embedder alone",
    "ensemble": "name the scorers with --scorer",
}
"""Heads that read no further features, and what to do instead."""

Show = Callable[[dict[str, Any], Path], None]


@app.command(help=ABOUT)
def train_reward(
    source: data.Source,
    *,
    out: reward.Out,
    head: reward.Name = "lore",
    embedder: reward.Embedder = "world-reward",
    features: reward.Features = None,
    scorer: options.Scorers = None,
    split: reward.By = "user",
    groups: reward.Groups = 16,
    width: reward.Width = 16,
    steps: reward.Steps = 600,
    lr: reward.Rate = 0.03,
    ridge: reward.Ridge = 30.0,
    spread: reward.Spread = 1.5,
    margin: reward.Margin = 0.0,
    label_smoothing: reward.Smoothing = 0.0,
    seed: reward.Seed = 0,
    rows: reward.Rows = None,
    format: data.Format = None,
    cache: reward.Cache = Path("cache"),
    batch: reward.Batch = 64,
    base: reward.Base = "builtin:base",
    vae: reward.Vae = None,
    draws: reward.Draws = 4,
    hidden: reward.Hidden = 0,
    noise: reward.Noise = "own",
    device: options.Device = "auto",
    force: options.Force = False,
    json: options.Json = False,
) -> None:
    """Train, measure and save a head."""
    from diffpref.config.fits import auto_device
    from diffpref.rewards.heads.settings import FitSettings
    from diffpref.run.train_reward import RewardJob

    _refuse(out, head, features, force=force)
    place = auto_device(device)
    fit = FitSettings(
        groups=groups,
        width=width,
        steps=steps,
        lr=lr,
        ridge=ridge,
        spread=spread,
        margin=margin,
        smoothing=label_smoothing,
        seed=seed,
    )
    common: dict[str, Any] = {"source": source, "out": out, "format": format, "rows": rows}
    if head == "bt-prior":
        from diffpref.cli.train_prior import learn

        learn(source, out, embedder, place, cache=cache, format=format, rows=rows, json=json)
    elif head == "ensemble":
        from diffpref.run.calibrate import EnsembleJob

        asked = EnsembleJob(by=split, batch=batch, **common)
        _tell(_calibrate(asked, words(scorer, ()), place), out, json)
    elif head in {"latent", "step-aware"}:
        from diffpref.cli.noisy_reward import show_noisy, train_noisy_head
        from diffpref.run.noisy.job import NoisyJob

        common |= {"draws": draws, "hidden": hidden, "noise": noise}
        noisy = NoisyJob(kind=head, batch=batch, fit=fit, cache=cache, **common)
        _tell(train_noisy_head(noisy, embedder, place, base=base, vae=vae), out, json, show_noisy)
    else:
        job = RewardJob(head=head, by=split, batch=batch, fit=fit, cache=cache, **common)
        _tell(_train(job, embedder, words(features), place), out, json)


def _refuse(out: Path, head: str, features: list[str] | None, *, force: bool) -> None:
    """Refuse to write over a head, and features where none are read."""
    from diffpref.run.train_reward import SUMMARY

    if (out / SUMMARY).exists() and not force:
        hint = "add --force, or name another folder"
        raise UsageError("holds a head already", where=str(out), hint=hint)
    if features and head in FEATURELESS:
        raise UsageError(f"{head} takes no features", where="--features", hint=FEATURELESS[head])


def _train(job: "RewardJob", embedder: str, features: list[str], device: str) -> dict[str, Any]:
    from torch import device as torch_device

    from diffpref.rewards import LoadOptions, load_scorer
    from diffpref.rewards.heads.extras import load_extras
    from diffpref.run.train_reward import Watchers, train_reward

    scorer = load_scorer(embedder, device=device)
    extras = load_extras(features, LoadOptions(device=torch_device(device)))
    with progress_bars() as bar:
        watch = Watchers(
            embedding=bar("embedding", "rows"),
            training=bar("training", "steps"),
            people=bar("new people", "draws"),
        )
        return train_reward(job, scorer, watch, extras=extras)


def _calibrate(job: "EnsembleJob", names: list[str], device: str) -> dict[str, Any]:
    from diffpref.run.calibrate import calibrate_scorers

    if len(names) < 2:
        hint = "for example --scorer world-reward,world-fidelity"
        raise UsageError("an ensemble needs two or more scorers", where="--scorer", hint=hint)
    scorers = options.load_scorers(names, device)
    with progress_bars() as bar:
        return calibrate_scorers(job, scorers, bar("scoring", "rows"))


def _tell(summary: dict[str, Any], out: Path, json: bool, show: Show = show_reward) -> None:
    if json:
        write_json({"folder": str(out), **summary})
    else:
        show(summary, out)
