"""Every online method on the bundled world at equal UNet work: reward against drift.

    python scripts/online_board.py                      # all rows; what is done is kept
    python scripts/online_board.py --only tailorpo,spo  # some rows
    python scripts/online_board.py --table              # write the table of what is done

Every run is kept in OUT/online.runs.jsonl by its key (configuration hash, budget, split), so that
the board may be stopped at any time, and goes on where it was.
"""

import argparse
import sys
from hashlib import blake2b
from pathlib import Path

from diffpref.cli.machine import gemm_gflops, processor
from diffpref.errors import Preempted, nearest
from diffpref.io import Journal
from scripts.online.heads import prepare
from scripts.online.rows import FORM, ROWS
from scripts.online.runs import Facts, config_of, run
from scripts.online.table import gain, write_table

OUT, WORK = Path("docs/benchmarks"), Path("runs/online")


class Board:
    """The runs, made when asked for and kept in one file."""

    def __init__(self, out: Path, work: Path) -> None:
        self.work = work
        self.journal = Journal(out / "online.runs.jsonl")
        self.done: dict[str, Facts] = {str(line["key"]): line for line in self.journal.read()}

    def key(self, name: str, *, lr: float, seed: int, budget: int, split: str) -> str:
        config = config_of(ROWS[name], lr=lr, seed=seed)
        text = config.model_dump_json(exclude_defaults=True) + f"/{budget}"
        return f"{name}-{blake2b(text.encode(), digest_size=6).hexdigest()}-{seed}-{split}"

    def facts(self, name: str, *, lr: float, seed: int, search: bool) -> Facts:
        """Return what a run gave, training it if nobody has."""
        budget = FORM.search_forwards if search else FORM.forwards
        split = "validation" if search else "test"
        prompts = FORM.search_prompts if search else FORM.prompts
        key = self.key(name, lr=lr, seed=seed, budget=budget, split=split)
        if key not in self.done:
            say(f"{key}, lr {lr:g}")
            prepare(ROWS[name])
            found = run(
                config_of(ROWS[name], lr=lr, seed=seed),
                self.work / key,
                form=FORM,
                budget=budget,
                split=split,
                prompts=prompts,
                tell=say,
            )
            about = {"key": key, "row": name, "lr": lr, "seed": seed, "split": split}
            self.done[key] = {**about, **found}
            self.journal.append(self.done[key])
        return self.done[key]

    def rate(self, name: str) -> float:
        """Return the learning rate whose run ends highest on the validation prompts."""
        return max(
            FORM.rates,
            key=lambda lr: gain(self.facts(name, lr=lr, seed=FORM.seeds[0], search=True)),
        )

    def finished(self) -> dict[str, list[Facts]]:
        """Return the test runs of today's configurations, by row."""
        return {
            name: runs
            for name in ROWS
            if (
                runs := [
                    self.done[key]
                    for lr in FORM.rates
                    for seed in FORM.seeds
                    if (key := self.key(name, lr=lr, seed=seed, budget=FORM.forwards, split="test"))
                    in self.done
                ]
            )
        }


def say(sentence: str) -> None:
    sys.stderr.write(f"{sentence}\n")


def main() -> int:
    """Run what is missing, or write the table.

    Returns:
        0, 75 when stopped, 2 for an unknown row.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--only", default=",".join(ROWS), help="rows, separated by commas")
    parser.add_argument("--seeds", type=int, default=len(FORM.seeds), help="how many of them")
    parser.add_argument("--table", action="store_true", help="write the table and stop")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--work", type=Path, default=WORK)
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    board = Board(asked.out, asked.work)
    if not asked.table:
        for name in asked.only.split(","):
            if name not in ROWS:
                say(f"'{name}' is not a row: {nearest(name, list(ROWS))}")
                return 2
            try:
                lr = board.rate(name)
                for seed in FORM.seeds[: asked.seeds]:
                    board.facts(name, lr=lr, seed=seed, search=False)
            except (Preempted, KeyboardInterrupt):
                say(f"stopped in {name}; what is finished is kept")
                return 75
    machine = {"processor": processor(), "gemm_gflops": round(gemm_gflops(), 1)}
    write_table(asked.out, board.finished(), machine)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
