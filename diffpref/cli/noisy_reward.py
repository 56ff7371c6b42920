"""`diffpref train-reward --head latent | step-aware`: what it loads, and what it prints."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from diffpref.cli.app import write_columns
from diffpref.cli.progress import progress_bars

if TYPE_CHECKING:
    from diffpref.run.noisy.job import NoisyJob


def train_noisy_head(
    job: "NoisyJob", embedder: str, device: str, *, base: str, vae: str | None
) -> dict[str, Any]:
    """Load the base, and the scorer of a step-aware reward, and train."""
    from diffpref.models import load_bundle
    from diffpref.rewards import load_scorer
    from diffpref.run.noisy.job import NoisyWatchers
    from diffpref.run.noisy.train import train_noisy

    bundle = load_bundle(base, vae=vae, device=device)
    scorer = load_scorer(embedder, device=device) if job.kind == "step-aware" else None
    with progress_bars() as bar:
        watch = NoisyWatchers(
            encoding=bar("encoding", "rows"),
            looking=bar("looking at noisy latents", "rows"),
            training=bar("training", "steps"),
        )
        return train_noisy(job, bundle, scorer, watch)


def show_noisy(summary: dict[str, Any], out: Path) -> None:
    """Print accuracies by step."""
    pairs = summary["pairs"]
    typer.echo(f"{pairs['train']} votes to train, {pairs['test']} on other prompts to test")
    table = [("test", "accuracy", "95 % interval")]
    for each in summary["accuracy"]:
        votes = each["votes"]
        interval = f"{votes['low']:.3f} to {votes['high']:.3f}"
        table.append((each["name"], f"{votes['accuracy']:.3f}", interval))
    write_columns(table)
    typer.echo(f"calibration error {summary['reliability']['ece']:.3f}")
    typer.echo(f"reward: {{scorer: 'noisy:{out}'}} in an online run; see {out / 'report.html'}")
