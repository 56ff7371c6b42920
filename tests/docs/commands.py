"""The commands that pages show, and what the program itself knows of them."""

import re
import shlex
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import typer

from diffpref.cli import VERBS
from tests.docs.blocks import blocks

SHELLS = {"bash", "console", "sh", ""}


def commands(page: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield every `diffpref ...` of a page's blocks: its line, and its words after `diffpref`."""
    for block in blocks(page):
        if block.language not in SHELLS:
            continue
        text = block.text.replace("\\\n", " ")
        for number, line in enumerate(text.splitlines(), start=block.line + 1):
            found = re.match(r"(?:\$ )?(?:.*? -m )?diffpref (.*)", line)
            if found and not line.lstrip().startswith("#"):
                yield number, _words(found[1])


def _words(text: str) -> list[str]:
    """Return the words up to a comment, a pipe or a redirection."""
    found = shlex.split(re.sub(r"(?<=\s)#.*", "", text))
    ends = [found.index(mark) for mark in ("|", ">", ">>", "&&", ";") if mark in found]
    return found[: min(ends, default=len(found))]


def mistake(words: list[str]) -> str | None:
    """Return what the program would not know of a command, or None."""
    if words[0].startswith("-"):
        return None if words[0] in {"--help", "--version"} else f"no option {words[0]}"
    if words[0] not in VERBS:
        return f"no verb {words[0]}"
    command, rest = verb(words[0]), words[1:]
    while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
        if rest[0] not in command.commands:
            return f"no {words[0]} {rest[0]}"
        command, rest = command.commands[rest[0]], rest[1:]
    known = {"--help", "-h", "--debug", *_options(command)}
    for word in rest:
        if word.startswith("-") and word.partition("=")[0] not in known and not _number(word):
            return f"no option {word} of {words[0]}"
    return None


def _options(command: Any) -> Iterator[str]:
    for each in command.params:
        yield from each.opts
        yield from each.secondary_opts
    for inner in getattr(command, "commands", {}).values():
        yield from _options(inner)


def _number(word: str) -> bool:
    return word[1:].replace(".", "", 1).isdigit()


@cache
def verb(name: str) -> Any:
    """Return the click command of a verb."""
    module = import_module(VERBS[name][0])
    app = module.app if isinstance(module.app, typer.Typer) else module.commands
    return typer.main.get_command(app)
