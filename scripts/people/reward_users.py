"""Scorers as users: does one model told of a scorer serve it better than pooled DPO, smoothly?

    python scripts/people/reward_users.py --threads 1    # what is done is kept
    python scripts/people/reward_users.py --table        # write the page of what is done

The check of PPD (2501.06655) without people: every scorer votes for its best against its worst of
the images the base makes of a training prompt. One user adapter (`shapes/ppd_bt`), told each
scorer's profile, against one LoRA on all the votes (`shapes/dpo`), at equal steps and votes; then
profiles between two scorers. Judged by the scorers themselves on test prompts: they are the users.
"""

import argparse
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any

import torch

from diffpref.assets import find_config
from diffpref.cli.label import pairs as label_pairs
from diffpref.cli.machine import gemm_gflops, processor
from diffpref.config import RunConfig, load_config
from diffpref.errors import Preempted
from diffpref.evaluate.prompts import read_prompts
from diffpref.evaluate.subject import open_model
from diffpref.models import Bundle
from diffpref.models.sample import sample
from diffpref.models.sample_settings import SampleSettings
from diffpref.rewards import load_scorer
from diffpref.run.execute import execute
from diffpref.users.api import Using
from diffpref.users.profile import UserProfile
from scripts.people.ledger import Facts, Ledger, say
from scripts.people.reward_table import SHARES, write_page
from scripts.people.training import FINISHED

OUT, WORK = Path("docs/benchmarks"), Path("runs/reward-users")
PARTS = ("pooled", "ppd", "mix")
USERS = ("brightness", "colourfulness", "world-reward")
PROMPTS, TRIED, SAMPLER_STEPS = 300, 8, 12
"""Of the training prompts, images of each that scorers vote on, and steps of every sampler."""

SEEDS, TOLD = 1, 50
"""Images of a test prompt, test prompts."""

STEPS = 200
SAME = (f"loop.steps={STEPS}", "optimizer.schedule=cosine", "save.every=100", "save.keep=1")
RUNS: dict[str, tuple[str, tuple[str, ...]]] = {
    "pooled": ("dpo", SAME),
    "ppd": (
        "ppd_bt",
        (*SAME, "users.support=[64,256]", "users.zeros=silent", "users.held_out=null"),
    ),
}
"""Run -> preset of configs/shapes and what it changes."""


def config_of(name: str, work: Path) -> RunConfig:
    """Return the configuration of one of RUNS."""
    preset, overrides = RUNS[name]
    data = [f"data.source={work / 'people'}", f"data.cache={work / 'cache'}"]
    return load_config(find_config(f"shapes/{preset}"), [*data, *overrides])


def voted(work: Path) -> Path:
    """Return the folder of the scorers' votes, made if they are not there."""
    folder = work / "people"
    if not (folder / FINISHED).exists():
        label_pairs(
            out=folder,
            from_model="builtin:base",
            prompts="builtin:prompts/train",
            limit=PROMPTS,
            images_per_prompt=TRIED,
            steps=SAMPLER_STEPS,
            scorer=list(USERS),
            as_users=True,
            make="pairs",
            device="cpu",
        )
        (folder / FINISHED).touch()
    return folder


class Study:
    """What is measured, made when asked for."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.prompts = read_prompts("builtin:prompts/test", limit=TOLD)
        self.ledger = Ledger(work, "rewards", (len(self.prompts), SEEDS, SAMPLER_STEPS))
        self._open: dict[str, Bundle] = {}

    @cached_property
    def profiles(self) -> dict[str, UserProfile]:
        """Every scorer's profile."""
        cache = self.work / "embeddings"
        return {
            user: UserProfile.fit(voted(self.work), using=Using(user=user, cache=cache))
            for user in USERS
        }

    def run(self, name: str) -> Bundle:
        """Return a model, trained or continued if it is not finished."""
        if name not in self._open:
            folder = self.work / name
            if name != "base" and not (folder / FINISHED).exists():
                say(f"training: {name}")
                execute(config_of(name, self.work), folder, resume="auto")
                (folder / FINISHED).touch()
            opened = open_model("builtin:base" if name == "base" else str(folder))
            self._open[name] = opened.bundle
        return self._open[name]

    def row(self, row: str, model: str, told: UserProfile | None = None) -> Facts:
        """Return every scorer's scores of a row's images, [scorers, prompts, seeds]."""
        bundle = self.run(model)
        return self.ledger.kept(row, lambda: {"scores": self._scores(bundle, told)}, of=model)

    def _scores(self, bundle: Bundle, told: UserProfile | None) -> Facts:
        found: dict[str, list[list[float]]] = {user: [] for user in USERS}
        for seed in range(SEEDS):
            images = sample(
                bundle,
                self.prompts,
                seed=seed,
                settings=SampleSettings(steps=SAMPLER_STEPS),
                users=None if told is None else told.embedding.expand(len(self.prompts), -1),
            )
            for user in USERS:
                scores = load_scorer(user).score(images, self.prompts).values
                found[user].append([round(float(each), 5) for each in scores.tolist()])
        return {user: torch.tensor(rows).T.tolist() for user, rows in found.items()}

    def make(self, part: str) -> None:
        """Make the rows of one of PARTS."""
        voted(self.work)
        if part == "pooled":
            self.row("base", "base")
            self.row("pooled", "pooled")
            return
        for user in USERS if part == "ppd" else ():
            self.row(f"ppd/{user}", "ppd", self.profiles[user])
        for first, second in combinations(USERS, 2) if part == "mix" else ():
            one, two = self.profiles[first], self.profiles[second]
            for share in SHARES:
                between = UserProfile.mix([(one, 1 - share), (two, share)])
                self.row(f"mix/{first}/{second}/{share}", "ppd", between)


def main() -> int:
    """Make what is missing, and write the page.

    Returns:
        0, 75 when stopped.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=PARTS, help="one part; all are made without")
    parser.add_argument("--table", action="store_true", help="make nothing, write the page")
    parser.add_argument("--work", type=Path, default=WORK)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--threads", type=int, default=2, help="1 beside other work")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    study = Study(asked.work)
    try:
        for part in () if asked.table else [asked.only] if asked.only else PARTS:
            study.make(part)
    except (Preempted, KeyboardInterrupt):
        say("stopped; what is finished is kept")
        return 75
    about: dict[str, Any] = {
        "users": list(USERS),
        "prompts": len(study.prompts),
        "seeds": SEEDS,
        "steps": STEPS,
        "votes": PROMPTS * len(USERS),
        "embeddings": {user: each.embedding.tolist() for user, each in study.profiles.items()},
        "machine": {"processor": processor(), "gemm_gflops": round(gemm_gflops(), 1)},
    }
    write_page(asked.out, study.ledger.current(), about)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
