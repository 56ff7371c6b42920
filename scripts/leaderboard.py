"""Every method on the bundled world, on equal terms: same pairs, same small search, held-out test.

    python scripts/leaderboard.py                    # all rows of the short form, about six hours
    python scripts/leaderboard.py --only inpo,smpo   # some rows; what is done is kept
    python scripts/leaderboard.py --table            # write the table of what is done

Every run is kept in OUT/leaderboard-<form>.<split>.runs.jsonl by its key (configuration hash, seed,
split), so that the board may be stopped at any time, and goes on where it was, also on another
machine.
"""

import argparse
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict
from hashlib import blake2b
from pathlib import Path

import torch
from torch import Tensor

from diffpref.cli.machine import gemm_gflops, processor
from diffpref.config import RunConfig
from diffpref.errors import DiffprefError, Preempted, nearest
from diffpref.evaluate.winrate import win_rate
from diffpref.io import Journal
from scripts.board.material import overrides_of, prepare
from scripts.board.rows import FORMS, REFERENCE_ROW, ROWS, Row
from scripts.board.runs import config_of, facts_of, images_of, prompts_of, train
from scripts.board.table import Facts, scores, write_table

SPLITS = ("validation", "test")
"""Prompts a run is judged on: to choose its learning rate, or for the table."""


class Board:
    """The runs of one form, made when asked for and kept in one file a split."""

    def __init__(self, form: str, work: Path, results: Path) -> None:
        self.name, self.form, self.work = form, FORMS[form], work / form
        self.journals = {
            split: Journal(results / f"leaderboard-{form}.{split}.runs.jsonl") for split in SPLITS
        }
        self.done = {
            str(line["key"]): line for journal in self.journals.values() for line in journal.read()
        }
        self._base: dict[str, Tensor] = {}
        results.mkdir(parents=True, exist_ok=True)

    def base(self, split: str) -> Facts:
        """Return the facts of the base's images of a split."""
        images = self._base_images(split)
        return self._kept(f"base-{split}", lambda: {"row": "base", **self._facts(images, split)})

    def run(self, name: str, *, lr: float, seed: int, split: str, draws: int) -> Facts:
        """Return the facts of one run of a row, training it if nobody has."""
        key = self.key(name, lr=lr, seed=seed, split=split, draws=draws)

        def make() -> Facts:
            prepare(ROWS[name].data, self.work)
            config = self.config(name, lr=lr, seed=seed, draws=draws)
            folder = self.work / "runs" / key
            shutil.rmtree(folder, ignore_errors=True)
            cost = train(config, folder)
            images, _ = images_of(str(folder), self.form, split)
            shutil.rmtree(folder, ignore_errors=True)
            about = {"row": name, "split": split, "lr": lr, "seed": seed, "draws": draws}
            return {**about, **cost, **self._facts(images, split, self._base_images(split))}

        return self._kept(key, make)

    def key(self, name: str, *, lr: float, seed: int, split: str, draws: int) -> str:
        """Return what identifies a run: its row, the hash of its configuration, seed and split."""
        config = self.config(name, lr=lr, seed=seed, draws=draws)
        # Defaults are left out, so that a new setting does not make old runs strangers.
        text = config.model_dump_json(exclude_defaults=True).replace(str(self.work), "WORK")
        return f"{name}-{blake2b(text.encode(), digest_size=6).hexdigest()}-{seed}-{split}"

    def config(self, name: str, *, lr: float, seed: int, draws: int) -> RunConfig:
        row, data = ROWS[name], overrides_of(ROWS[name].data, self.work)
        cache = self.work / "cache"
        return config_of(row, self.form, data=data, draws=draws, lr=lr, seed=seed, cache=cache)

    def best_rate(self, name: str) -> float:
        """Return the learning rate that wins most often on the validation prompts."""
        other = ROWS[name].rate_of
        if other is not None:
            return self.best_rate(other)
        base = scores(self.base("validation"))
        thorough, form = ROWS[name].thorough, self.form
        seeds = form.seeds if thorough else (0,)
        draws = form.draws if thorough else form.search_draws
        won: dict[float, tuple[float, float]] = {}
        for lr in form.rates:
            runs = [
                scores(self.run(name, lr=lr, seed=seed, split="validation", draws=draws))
                for seed in seeds
            ]
            ours = torch.stack(runs, dim=1)
            rate = win_rate(ours, base[:, None].expand_as(ours)).rate
            won[lr] = (rate, float(ours.mean()))
        return max(won, key=lambda lr: won[lr])

    def draws(self, row: Row) -> int:
        """Return how many pairs a row may draw."""
        if row.afford is None:
            return self.form.draws * row.times
        costs: dict[str, float] = {}
        for name in (REFERENCE_ROW, row.afford):
            lr = self.best_rate(name)
            facts = self.run(name, lr=lr, seed=0, split="test", draws=self.form.draws)
            costs[name] = facts["unet_units"]
        return round(self.form.draws * costs[REFERENCE_ROW] / costs[row.afford])

    def row(self, name: str) -> list[Facts]:
        """Return a row's test runs, one per seed."""
        lr, draws = self.best_rate(name), self.draws(ROWS[name])
        runs: list[Facts] = []
        for seed in self.form.seeds:
            facts = self.run(name, lr=lr, seed=seed, split="test", draws=draws)
            runs.append(facts)
            rate = win_rate(scores(facts)[:, None], scores(self.base("test"))[:, None])
            say(
                f"{name} seed {seed} lr {lr:g}: {rate.rate:.3f} ({rate.low:.3f} to {rate.high:.3f})"
                f" in {facts['seconds']:.0f} s"
            )
        return runs

    def finished(self) -> dict[str, list[Facts]]:
        """Return the rows that have a run of every seed with the configuration of today."""
        rows: dict[str, dict[int, Facts]] = {}
        for line in self.done.values():
            if line.get("split") == "test" and line["row"] in ROWS and self._is_current(line):
                rows.setdefault(str(line["row"]), {})[int(line["seed"])] = line
        seeds = self.form.seeds
        return {
            name: [rows[name][seed] for seed in seeds]
            for name in ROWS
            if set(seeds) <= rows.get(name, {}).keys()
        }

    def _is_current(self, line: Facts) -> bool:
        given = {name: line[name] for name in ("lr", "seed", "split", "draws")}
        return line["key"] == self.key(line["row"], **given)

    def _kept(self, key: str, make: Callable[[], Facts]) -> Facts:
        if key not in self.done:
            self.done[key] = {"key": key, **make()}
            self.journals[key.rsplit("-", 1)[1]].append(self.done[key])
        return self.done[key]

    def _facts(self, images: Tensor, split: str, base: Tensor | None = None) -> Facts:
        return facts_of(images, prompts_of(self.form, split), base)

    def _base_images(self, split: str) -> Tensor:
        if split not in self._base:
            self._base[split], _ = images_of("builtin:base", self.form, split)
        return self._base[split]


def say(sentence: str) -> None:
    sys.stderr.write(sentence + "\n")
    sys.stderr.flush()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--form", choices=sorted(FORMS), default="short", help="how much is spent")
    parser.add_argument("--only", default="", help="row names, separated by commas")
    parser.add_argument("--table", action="store_true", help="train nothing, write the table")
    parser.add_argument("--work", type=Path, default=Path("runs/leaderboard"))
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"))
    parser.add_argument(
        "--threads", type=int, default=2, help="1 beside other work: two wait for each other"
    )
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    names = [name for name in given.only.split(",") if name] or list(ROWS)
    for name in names:
        if name not in ROWS:
            parser.error(f"'{name}' is not a row; {nearest(name, ROWS)}")
    board, failed = Board(given.form, given.work, given.out), []
    for name in [] if given.table else names:
        try:
            board.row(name)
        except Preempted as stop:
            say(f"stopped in {name}; what is finished is kept")
            return stop.exit_code
        except DiffprefError as error:
            failed.append(name)
            say(f"{name}: {error}")
    rows = board.finished()
    if REFERENCE_ROW in rows:
        machine = {"processor": processor(), "gemm_gflops": round(gemm_gflops(), 1)}
        about = {"form": board.name, "settings": asdict(board.form), "machine": machine}
        write_table(given.out, rows, board.base("test"), about)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
