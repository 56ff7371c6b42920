"""The rewards of noisy latents that rows of the online board need."""

from diffpref.models import load_bundle
from diffpref.run.noisy.job import NoisyJob
from diffpref.run.noisy.train import train_noisy
from diffpref.run.train_reward import SUMMARY
from scripts.online.rows import HEADS, Row


def prepare(row: Row) -> None:
    """Learn the head of a row from the bundled votes, as `diffpref train-reward` does by itself."""
    if row.head is None or (HEADS / row.head / SUMMARY).exists():
        return
    job = NoisyJob(
        source="builtin:pairs", kind=row.head, out=HEADS / row.head, cache=HEADS / "cache"
    )
    train_noisy(job, load_bundle("builtin:base"), None)
