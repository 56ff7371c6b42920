"""Every method on the bundled world, on equal terms: same pairs, same small search, held-out test.

    python scripts/leaderboard.py                    # all rows of the short form, about six hours
    python scripts/leaderboard.py --only inpo,smpo   # some rows; what is done is kept
    python scripts/leaderboard.py --table            # write the table of what is done

Every run is kept under --work by its key (configuration hash, seed, split), so that the board may
be stopped at any time and goes on where it was.
"""

import argparse
import json
import shutil
import sys
from dataclasses import asdict
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffpref.cli.machine import gemm_gflops, processor
from diffpref.config import dump_config
from diffpref.errors import DiffprefError, nearest
from diffpref.evaluate.winrate import win_rate
from diffpref.io import write_json
from scripts.board.material import overrides_of
from scripts.board.rows import FORMS, REFERENCE_ROW, ROWS, Row
from scripts.board.runs import config_of, images_of, keep, kept, scores_of, train
from scripts.board.table import write_table

ORACLE = "world-oracle"


class Board:
    """The runs of one form, made when asked for and kept."""

    def __init__(self, form_name: str, work: Path) -> None:
        self.name, self.form, self.work = form_name, FORMS[form_name], work / form_name

    def base(self, split: str) -> tuple[Tensor, dict[str, Any]]:
        """Return the base's images of a split and their scores."""
        path = self.work / "results" / f"base-{split}"
        if kept(path) is None:
            images, prompts = images_of("builtin:base", self.form, split)
            keep(path, images, {"scores": scores_of(images, prompts)})
        found = kept(path)
        assert found is not None
        return found

    def run(
        self, name: str, *, lr: float, seed: int, split: str, draws: int
    ) -> tuple[Tensor, dict[str, Any]]:
        """Return the images and facts of one run of a row, training it if nobody has."""
        row = ROWS[name]
        config = config_of(
            row,
            self.form,
            data=overrides_of(row.data, self.work),
            draws=draws,
            lr=lr,
            seed=seed,
            cache=self.work / "cache",
        )
        text = dump_config(config).replace(str(self.work), "WORK")
        key = blake2b(text.encode(), digest_size=6).hexdigest()
        path = self.work / "results" / f"{name}-{key}-{seed}-{split}"
        found = kept(path)
        if found is not None:
            return found
        folder = self.work / "runs" / f"{name}-{key}"
        shutil.rmtree(folder, ignore_errors=True)
        facts = train(config, folder)
        images, prompts = images_of(str(folder), self.form, split)
        facts |= {"lr": lr, "seed": seed, "draws": draws, "scores": scores_of(images, prompts)}
        keep(path, images, facts)
        shutil.rmtree(folder, ignore_errors=True)
        found = kept(path)
        assert found is not None
        return found

    def best_rate(self, name: str) -> float:
        """Return the learning rate that wins most often on the validation prompts."""
        base = _scores(self.base("validation")[1])
        won: dict[float, tuple[float, float]] = {}
        for lr in self.form.rates:
            _, facts = self.run(
                name, lr=lr, seed=0, split="validation", draws=self.form.search_draws
            )
            ours = _scores(facts)
            won[lr] = (win_rate(ours[:, None], base[:, None]).rate, float(ours.mean()))
        return max(won, key=lambda lr: won[lr])

    def draws(self, row: Row) -> int:
        """Return how many pairs a row may draw."""
        if row.afford is None:
            return self.form.draws
        costs = {}
        for name in (REFERENCE_ROW, row.afford):
            lr = self.best_rate(name)
            _, facts = self.run(name, lr=lr, seed=0, split="test", draws=self.form.draws)
            costs[name] = facts["unet_units"]
        return round(self.form.draws * costs[REFERENCE_ROW] / costs[row.afford])

    def row(self, name: str, *, quiet: bool = False) -> list[tuple[Tensor, dict[str, Any]]]:
        """Return a row's test runs, one per seed."""
        row = ROWS[name]
        lr, draws = self.best_rate(name), self.draws(row)
        runs = []
        for seed in self.form.seeds:
            images, facts = self.run(name, lr=lr, seed=seed, split="test", draws=draws)
            runs.append((images, facts))
            if quiet:
                continue
            rate = win_rate(_scores(facts)[:, None], _scores(self.base("test")[1])[:, None])
            say(
                f"{name} seed {seed} lr {lr:g}: {rate.rate:.3f} ({rate.low:.3f} to {rate.high:.3f})"
                f" in {facts['seconds']:.0f} s"
            )
        return runs

    def finished(self) -> dict[str, list[tuple[Tensor, dict[str, Any]]]]:
        """Return the rows that have all their runs; trains nothing."""
        path = self.work / "rows.json"
        names = json.loads(path.read_text()) if path.exists() else []
        return {name: self.row(name, quiet=True) for name in ROWS if name in names}

    def mark(self, name: str) -> None:
        path = self.work / "rows.json"
        names = json.loads(path.read_text()) if path.exists() else []
        write_json(path, sorted({*names, name}))


def say(sentence: str) -> None:
    sys.stderr.write(sentence + "\n")
    sys.stderr.flush()


def _scores(facts: dict[str, Any]) -> Tensor:
    return torch.tensor(facts["scores"][ORACLE])


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--form", choices=sorted(FORMS), default="short", help="how much is spent")
    parser.add_argument("--only", default="", help="row names, separated by commas")
    parser.add_argument("--table", action="store_true", help="train nothing, write the table")
    parser.add_argument("--work", type=Path, default=Path("runs/leaderboard"))
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"))
    given = parser.parse_args()
    names = [name for name in given.only.split(",") if name] or list(ROWS)
    for name in names:
        if name not in ROWS:
            parser.error(f"'{name}' is not a row; {nearest(name, ROWS)}")
    board, failed = Board(given.form, given.work), []
    for name in [] if given.table else names:
        try:
            board.row(name)
            board.mark(name)
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
    torch.set_num_threads(2)
    sys.exit(main())
