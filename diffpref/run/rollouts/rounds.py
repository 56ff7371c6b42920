"""Rounds of rollouts on disk: written whole, so that a run resumes in the middle of one."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from json import dumps, loads
from pathlib import Path

from safetensors import safe_open
from torch import Tensor

from diffpref.errors import CheckpointError
from diffpref.io import save_tensors
from diffpref.run.rollouts.origin import Fact, Origin, parsed, plain

FORMAT = "2"


@dataclass(frozen=True, kw_only=True)
class Round:
    """What one round gave all processes together.

    Attributes:
        number: of the round, from 0.
        first: the optimizer step its first window is for.
        windows: optimizer steps it feeds; 0 if nothing passed.
        items: tensors of equal length, one row per item.
        about: what it was like, and the counts when it was made.
        origin: how it was made.
        texts: prompts by the position that the items' `asked` tells.
    """

    number: int
    first: int
    windows: int
    items: Mapping[str, Tensor]
    about: Mapping[str, float]
    origin: Origin = field(default_factory=dict[str, Fact])
    texts: Mapping[int, str] = field(default_factory=dict[int, str])

    def __len__(self) -> int:
        return len(next(iter(self.items.values()))) if self.items else 0


@dataclass(frozen=True, kw_only=True)
class Rounds:
    """A folder of rounds, one file each. One process writes, all read.

    Attributes:
        folder: where.
        keep: optimizer steps before the newest round that a run may resume from; rounds that end
            before those are dropped.
    """

    folder: Path
    keep: int

    def save(self, made: Round) -> None:
        """Write a round durably and drop those no checkpoint resumes from any more.

        Raises:
            DiskError: it cannot be written; nothing else is lost.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        told = {
            "format": FORMAT,
            "first": str(made.first),
            "windows": str(made.windows),
            "about": dumps(dict(made.about)),
            "origin": dumps(plain(made.origin)),
            "texts": dumps({str(place): text for place, text in made.texts.items()}),
        }
        save_tensors(self._path(made.number), made.items, told)
        for number in self.numbers():
            first, windows = self._steps(number)
            if first + windows >= made.first - self.keep:
                break
            self._path(number).unlink()

    def numbers(self) -> list[int]:
        return sorted(
            int(path.name.split(".")[0].removeprefix("round-"))
            for path in self.folder.glob("round-*.safetensors")
        )

    def read(self, number: int) -> Round:
        """Read a round.

        Raises:
            CheckpointError: the file is damaged.
        """
        path = self._path(number)
        try:
            with safe_open(path, framework="pt") as file:
                told = file.metadata()
                items = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return Round(
                number=number,
                first=int(told["first"]),
                windows=int(told["windows"]),
                items=items,
                about=loads(told["about"]),
                origin=parsed(loads(told.get("origin", "{}"))),
                texts={int(p): str(t) for p, t in loads(told.get("texts", "{}")).items()},
            )
        except Exception as error:
            raise _damaged(path) from error

    def _steps(self, number: int) -> tuple[int, int]:
        """Return a round's first step and how many it feeds, without its tensors."""
        path = self._path(number)
        try:
            with safe_open(path, framework="pt") as file:
                told = file.metadata()
            return int(told["first"]), int(told["windows"])
        except Exception as error:
            raise _damaged(path) from error

    def forget(self, step: int) -> None:
        """Remove rounds that begin at this step or later: the policy makes them anew, and alike."""
        for number in reversed(self.numbers()):
            if self._steps(number)[0] < step:
                break
            self._path(number).unlink()

    def holding(self, step: int) -> Round | None:
        """Return the round whose windows include this step but do not begin with it."""
        for number in reversed(self.numbers()):
            first, windows = self._steps(number)
            if first < step < first + windows:
                return self.read(number)
        return None

    def before(self, step: int) -> Round | None:
        """Return the round that ends where this step begins; None at the start of a run.

        Raises:
            CheckpointError: the rounds before it are gone, so its number is not known.
        """
        numbers = self.numbers()
        if not numbers:
            if step:
                raise CheckpointError(
                    f"the rollouts before step {step} are gone",
                    where=str(self.folder),
                    hint="resume from a newer checkpoint",
                )
            return None
        newest = self.read(numbers[-1])
        if newest.first + newest.windows != step:
            raise CheckpointError(
                f"the rollouts that step {step} learns from are gone",
                where=str(self.folder),
                hint="resume from a newer checkpoint",
            )
        return newest

    def _path(self, number: int) -> Path:
        return self.folder / f"round-{number:06d}.safetensors"


def _damaged(path: Path) -> CheckpointError:
    return CheckpointError(
        "this round of rollouts is damaged",
        where=str(path),
        hint="delete it and resume from an older checkpoint",
    )
