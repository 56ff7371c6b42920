"""Writes what this release writes into tests/old/<version>/, once, when the release is made.

`python -m tests.old.record`: an existing folder is left alone. Small numbers only.
"""

import sys
from pathlib import Path

import torch

from diffpref import __version__
from diffpref.data.labels import SCHEMA
from diffpref.io import Journal, png_bytes, write_atomic
from diffpref.rewards.heads.files import save_head
from diffpref.train.store import Store
from diffpref.users.change import fit_profile
from diffpref.users.evidence import evidence_of
from diffpref.users.prior_file import save_prior
from diffpref.users.profile_file import save_profile
from tests.rewards.heads.conftest import random_head
from tests.users.planted import some_pairs, some_prior

OLD = Path(__file__).parent

CONFIG = """\
# What `diffpref train` wrote beside the checkpoints.
seed: 3
model: {base: builtin:base, dtype: fp32}
adapter: {kind: lora, rank: 4}
reference: {kind: adapters_off}
method: {name: diffusion_dpo, beta: 2000}
parts: {loss: hinge, label: hard}
data: {source: builtin:pairs, pairs_per_batch: 4}
loop: {steps: 40, micro_batches: 2}
optimizer: {name: adamw, lr: 1.0e-4, warmup: 4}
save: {every: 10, keep: 3}
"""


def checkpoint(folder: Path) -> None:
    """A checkpoint with an average, and the pointer to the best."""
    group = {"layer.lora_A.weight": torch.arange(6).reshape(2, 3) / 7}
    moments = {f"layer.lora_A.weight.{name}": torch.full((2, 3), 0.5) for name in ("m", "v")}
    Store(folder).save(
        30,
        files={"trainable": group, "optimizer": moments, "ema": group},
        state={"step": 30, "accuracy": 0.625, "seconds": 1.5},
        identity={"seed": 3, "config": {"method": {"name": "diffusion_dpo"}}},
        keep=3,
        best=True,
    )


def profile(folder: Path) -> None:
    prior = some_prior()
    save_prior(folder / "toy.safetensors", prior)
    evidence = evidence_of(prior, some_pairs(8))
    save_profile(folder / "me.profile", fit_profile(prior, evidence, keep=True))


def votes(folder: Path) -> None:
    """The folder of a rating page: a vote, a vote taken back, a tie and a pair passed over."""
    from PIL import Image

    for name, colour in (("a.png", 10), ("b.png", 200)):
        data = png_bytes(Image.new("RGB", (8, 8), (colour, 0, 0)), {})
        write_atomic(folder / name, data)
    row = {"prompt": "a boat", "images": ["a.png", "b.png"], "time": "2026-11-01T10:00:00+00:00"}
    journal = Journal(folder / "journal.jsonl")
    journal.append({**row, "scores": [1, 0], "id": "p1", "nonce": "n1", "left": 0})
    journal.append({**row, "scores": [0, 1], "id": "p2", "nonce": "n2", "left": 1})
    journal.append({"undo": "n2", "time": row["time"]})
    journal.append({**row, "scores": [0.5, 0.5], "id": "p3", "nonce": "n3", "left": 1})
    journal.append({"id": "p4", "skip": True, "nonce": "n4", "time": row["time"]})


def labels(folder: Path) -> None:
    scorer = {"low": 0.5, "high": 2.0, "weights": {}}
    table = Journal(folder / "labels.jsonl")
    table.append({"schema": SCHEMA, "run": "00", "scorers": {"brightness": scorer}, "n": 2})
    for image, value in (("a.png", 0.5), ("b.png", 2.0)):
        table.append({"prompt": "a boat", "image": image, "scores": [value]})


def record(root: Path) -> None:
    """Write everything."""
    for name in ("run", "profile", "votes", "labels"):
        (root / name).mkdir(parents=True)
    write_atomic(root / "run" / "config.yaml", CONFIG)
    checkpoint(root / "run" / "checkpoints")
    profile(root / "profile")
    votes(root / "votes")
    labels(root / "labels")
    save_head(root / "head", random_head("lore", some_pairs(300, people=6)))


if __name__ == "__main__":
    if (OLD / __version__).exists():
        sys.exit(f"{__version__} is recorded already; old files never change")
    record(OLD / __version__)
