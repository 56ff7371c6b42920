"""What the card needs trained: a population LoRA, and user adapters on top of it.

A LoRA learns what everyone likes first; policy and reference of the adapters both have it, and
every pair is joined by the vote of somebody who chose its other image (`users.counter`), so that
what is left to learn is how people differ.
"""

import shutil
from pathlib import Path

from diffpref.assets import assets_root, find_config
from diffpref.config import RunConfig, load_config
from diffpref.data.writers import write_pickapic
from diffpref.models.lora_files import FILE as LORA
from diffpref.models.user_files import FILE as ADAPTER
from diffpref.run.execute import execute
from scripts.more_votes import NAME as PART
from scripts.more_votes import votes

VOTES, CACHE, FINISHED = "votes", "cache", "finished"
EACH = 3
"""People who vote on every pair of the training pictures (scripts/more_votes.py)."""

FALLING = ("optimizer.schedule=cosine", "save.every=100", "save.keep=1")
PERSONAL = (*FALLING, "users.counter=1", "users.held_out=validation", "users.held_out_rows=200")
RUNS: dict[str, tuple[str, tuple[str, ...]]] = {
    "population": ("dpo", (*FALLING, "loop.steps=200")),
    "taste": (
        "ppd",
        (*PERSONAL, "users.encoder=world_taste", "loop.steps=1200", "evaluate.every=300"),
    ),
    "bt": (
        "ppd",
        (*PERSONAL, "users.encoder=bt", "users.width=4", "loop.steps=500", "evaluate.every=250"),
    ),
}
"""Run -> preset of configs/shapes and what it changes."""


def config_of(name: str, work: Path) -> RunConfig:
    """Return the configuration of one of RUNS."""
    preset, overrides = RUNS[name]
    under = [] if name == "population" else [f"model.init_lora={work / 'population'}"]
    data = [f"data.source={work / VOTES}", f"data.cache={work / CACHE}"]
    return load_config(find_config(f"shapes/{preset}"), [*data, *under, *overrides])


def trained(name: str, work: Path) -> Path:
    """Return the folder of a run, trained or continued if it is not finished."""
    folder = work / name
    _make_votes(work / VOTES)
    if not (folder / FINISHED).exists():
        execute(config_of(name, work), folder, resume="auto")
        (folder / FINISHED).touch()
    return folder


def _make_votes(folder: Path) -> None:
    """Let the training people vote on the training pictures; the other parts are as they are."""
    if (folder / PART.format("validation")).exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    write_pickapic(folder / PART.format("train"), votes(EACH))
    for part in ("test", "validation"):
        shutil.copy(assets_root() / "pairs" / PART.format(part), folder)


def weights_of(run: Path) -> Path | None:
    """Return the file of a finished run's LoRA or user adapter; None where there is none."""
    return next((path for path in (run / ADAPTER, run / LORA) if path.exists()), None)
