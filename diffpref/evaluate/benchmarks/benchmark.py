"""What a generation benchmark is: prompts in the user's file, a layout of images, a result file."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import PIL.Image


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One prompt of a benchmark.

    `id` is what the benchmark's own files call it; `group` its category, style or task; `more`
    what else its file says and its evaluator wants to see again.
    """

    prompt: str
    id: str
    group: str = ""
    more: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where the benchmark's evaluator looks for the images of a prompt.

    names: the files of an item's n images, relative to the folder it is given, in their order;
        one name for n images when `join` makes one picture of them.
    allowed: how many images per prompt it can read; empty means any number.
    published: how many the published numbers use.
    notes: text files that stand beside an item's images.
    """

    names: Callable[[Item, int], list[str]]
    published: int
    allowed: tuple[int, ...] = ()
    join: "Callable[[Sequence[PIL.Image.Image]], PIL.Image.Image] | None" = None
    notes: Callable[[Item], Mapping[str, str]] = lambda _: {}


@dataclass(frozen=True, kw_only=True)
class Line:
    """One number of a summary: over `n` of `unit`; `low` and `high` are its 95 % interval.

    `spread` is the standard deviation that the benchmark itself publishes, if it does.
    """

    name: str
    value: float
    n: int
    unit: str = "images"
    low: float | None = None
    high: float | None = None
    spread: float | None = None


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What a result file says: `lines` by task or style, then `overall`.

    `rule` says how `overall` comes about; `notes` what makes it not comparable.
    """

    lines: tuple[Line, ...]
    overall: tuple[Line, ...]
    rule: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """A benchmark of the table.

    read: the prompts of the user's own file or folder.
    layout: None where there is no evaluator of its own.
    summarise: reads the evaluator's result file; None where there is none.
    prompts, results: what these files are, in a few words.
    """

    read: Callable[[Path], list[Item]]
    prompts: str
    layout: Layout | None = None
    summarise: Callable[[Path], Summary] | None = None
    results: str = ""
