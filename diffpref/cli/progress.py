"""Progress bars with rate and time left, on stderr; plain lines when there is no terminal."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import typer

PLAIN_EVERY = 10.0
"""Seconds between plain lines."""


@runtime_checkable
class Tell(Protocol):
    """Reports progress: so many done, of so many if known, and a few words."""

    def __call__(self, done: int, total: int | None, note: str = "") -> None: ...


Bars = Callable[[str, str], Tell]
"""(what, unit) -> how to tell its progress."""


@contextmanager
def progress_bar(what: str, unit: str = "rows") -> Iterator[Tell]:
    """Show one bar while the block runs."""
    with progress_bars() as bar:
        yield bar(what, unit)


@contextmanager
def progress_bars() -> Iterator[Bars]:
    """Show bars while the block runs; the block is given `bar(what, unit) -> tell`."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda what, unit: PlainLines(what=what, unit=unit)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console) as progress:
        yield lambda what, unit: _task(progress, what, unit)


def _task(progress: Any, what: str, unit: str) -> Tell:
    tasks: list[Any] = []
    pace = Pace()

    def tell(done: int, total: int | None, note: str = "") -> None:
        if not tasks:
            tasks.append(progress.add_task(what, total=total, rate="", note=""))
        rate = f"{pace.rate(done):.2f} {unit}/s"
        progress.update(tasks[0], completed=done, total=total, rate=rate, note=note)

    return tell


@dataclass
class Pace:
    """The rate since the first report, so that a resumed run does not count what it found done."""

    began: float | None = None
    first: int = 0

    def rate(self, done: int) -> float:
        now = time.monotonic()
        if self.began is None:
            self.began, self.first = now, done
        return (done - self.first) / max(now - self.began, 1e-6)


@dataclass
class PlainLines:
    """A line every PLAIN_EVERY seconds, and one at the end."""

    what: str
    unit: str
    pace: Pace = field(default_factory=Pace)
    last: float = field(default_factory=time.monotonic)

    def __call__(self, done: int, total: int | None, note: str = "") -> None:
        rate, now = self.pace.rate(done), time.monotonic()
        if done != total and now - self.last < PLAIN_EVERY:
            return
        self.last = now
        of = "" if total is None else f" of {total}"
        left = "" if total is None or rate <= 0 else f", {(total - done) / rate:.0f} s left"
        speed = f", {rate:.2f} {self.unit}/s" if rate > 0 else ""
        typer.echo(f"{self.what}: {done}{of} {self.unit}{speed}{left}  {note}".rstrip(), err=True)
