"""Code blocks of a page, with what the page says about them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = ROOT / "docs"

_FILE = re.compile(r"^`([\w./-]+\.\w+)`:$")
_SKIP = re.compile(r"^<!-- not run: (.+) -->$")


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block: its language, its text, the file it is said to be, why it is not run."""

    language: str
    text: str
    line: int
    file: str | None = None
    skip: str | None = None


def blocks(page: Path) -> Iterator[Block]:
    """Yield the blocks of a page; a file named on a line of its own holds until the next."""
    file = skip = language = None
    text: list[str] = []
    start = 0
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1):
        if language is not None and line != "```":
            text.append(line)
        elif language is not None:
            yield Block(
                language=language, text="\n".join(text) + "\n", line=start, file=file, skip=skip
            )
            language = skip = None
            text = []
        elif line.startswith("```"):
            language, start = line[3:].strip(), number
        elif found := _FILE.match(line):
            file = found[1]
        elif found := _SKIP.match(line):
            skip = found[1]
