"""What has been measured, kept line by line in one file and found again by key."""

import json
import sys
import time
from collections.abc import Callable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

from diffpref.io import Journal
from scripts.people.training import weights_of

Facts = dict[str, Any]


class Ledger:
    """The measurements of one form; what they depend on is in their keys."""

    def __init__(self, work: Path, form: str, sizes: Sequence[int]) -> None:
        work.mkdir(parents=True, exist_ok=True)
        self.work, self.sizes = work, list(sizes)
        self.journal = Journal(work / f"people-{form}.jsonl")
        self.done: dict[str, Facts] = {str(line["key"]): line for line in self.journal.read()}

    def kept(self, row: str, make: Callable[[], Facts], *, of: str, **about: Any) -> Facts:
        """Return the measurements of a row, of the model `of`, making them if nobody has."""
        about |= {"of": of, "weights": self.weights(of), "sizes": self.sizes}
        text = json.dumps([row, about], sort_keys=True)
        key = f"{row}-{blake2b(text.encode(), digest_size=6).hexdigest()}"
        if key not in self.done:
            began = time.monotonic()
            facts = make()
            seconds = round(time.monotonic() - began, 1)
            self.done[key] = {"key": key, "row": row, "seconds": seconds, **about, **facts}
            self.journal.append(self.done[key])
            say(f"{key}: {seconds} s")
        return self.done[key]

    def current(self) -> list[Facts]:
        """Return the measurements of the models and sizes of today."""
        return [
            line
            for line in self.done.values()
            if line["weights"] == self.weights(line["of"]) and line["sizes"] == self.sizes
        ]

    def weights(self, model: str) -> str:
        """Return what tells a trained model from one that was trained otherwise."""
        file = weights_of(self.work / model)
        return "" if file is None else blake2b(file.read_bytes(), digest_size=6).hexdigest()


def say(sentence: str) -> None:
    """Tell the person at the terminal."""
    sys.stderr.write(f"{sentence}\n")
    sys.stderr.flush()
