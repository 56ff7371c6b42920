"""The option list of the command line, frozen in tests/cli/options.json.

A test compares it, so that no option disappears or is renamed by accident. After a change that
is meant: `python -m scripts.cli_options`.
"""

import json
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

FROZEN = Path(__file__).parents[1] / "tests" / "cli" / "options.json"


def commands() -> Mapping[str, Any]:
    """Return {"verb command": click command} of every verb."""
    from typer.main import get_command

    from diffpref.cli import VERBS

    found: dict[str, Any] = {}
    for verb, (name, _) in VERBS.items():
        module = import_module(name)
        # `scorers` and `methods` wrap their commands, so that the bare verb lists
        whole = get_command(vars(module).get("commands", module.app))
        subs: Mapping[str, Any] | None = getattr(whole, "commands", None)
        found |= {verb: whole} if subs is None else {f"{verb} {k}": v for k, v in subs.items()}
    return found


def options() -> dict[str, list[str]]:
    """Return every command's arguments and options, as they are written, in order."""

    def words(command: Any) -> list[str]:
        return [word for each in command.params for word in (*each.opts, *each.secondary_opts)]

    return {name: words(command) for name, command in sorted(commands().items())}


def text() -> str:
    """Return the file's content, one command a line."""
    lines = [f"{json.dumps(name)}: {json.dumps(words)}" for name, words in options().items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


if __name__ == "__main__":
    FROZEN.write_text(text(), encoding="utf-8")
