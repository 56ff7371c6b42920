"""Command lines that typer refuses, told as every mistake: what, where, and one next action."""

import re
from collections.abc import Callable
from typing import Any

import typer

from diffpref.errors import UsageError, nearest

MISTAKE: Any = typer.BadParameter.__mro__[1]
"""typer's class of wrong command lines; typer keeps it in a module of its own or in click."""

_CHOICE = re.compile(r"'(?P<value>.*?)' is not one of (?P<choices>.*?)\.?$", re.DOTALL)


def run(app: Callable[..., Any], args: list[str], prog_name: str) -> None:
    """Run a typer app on one command line.

    Raises:
        UsageError: the command line is wrong.
        SystemExit: the verb asks for an exit code other than 0.
    """
    try:
        code = app(args, prog_name=prog_name, standalone_mode=False)
    except MISTAKE as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            error.show()
            raise SystemExit(error.exit_code) from error
        raise told(error, prog_name) from error
    if isinstance(code, int) and code:
        raise SystemExit(code)


def told(error: Any, prog_name: str) -> UsageError:
    """Return typer's refusal in our words."""
    command = error.ctx.command_path if error.ctx else prog_name
    more = f"`{command} --help` explains"
    parameter = getattr(error, "param", None)
    if parameter is not None:
        return _of_parameter(error, parameter, command)
    if hasattr(error, "possibilities") and hasattr(error, "option_name"):
        options = [each for one in error.ctx.command.params for each in (*one.opts, "--help")]
        near = nearest(error.option_name, set(options), listed_by=f"{command} --help")
        return UsageError("there is no such option", where=error.option_name, hint=near)
    return UsageError(error.format_message().rstrip("."), where=command, hint=more)


def _of_parameter(error: Any, parameter: Any, command: str) -> UsageError:
    option = parameter.opts[0].startswith("-")
    name = parameter.opts[0] if option else parameter.metavar or parameter.name.upper()
    about = f"`{command} --help` explains"
    if type(error).__name__ == "MissingParameter":
        meaning = (parameter.help or "").strip()
        hint = f"{meaning} {about}" if meaning else about
        return UsageError("is missing", where=f"{command}: {name}", hint=hint)
    message = error.message.removeprefix("Value error, ").strip()
    choice = _CHOICE.search(message)
    if choice is not None:
        known = re.findall(r"'(.*?)'", choice["choices"])
        near = nearest(choice["value"], known)
        whole = all(each in near for each in known)
        listed = "" if whole else f" Choices: {', '.join(known)}"
        return UsageError(
            f"{choice['value']!r} is not a choice", where=name, hint=f"{near}{listed}"
        )
    return UsageError(
        f"{message[:1].lower()}{message[1:].rstrip('.')}",
        where=name,
        hint=f"{_range(parameter)}{about}",
    )


def _range(parameter: Any) -> str:
    """Return the bounds of a number, ready to be followed by more."""
    own = getattr(parameter, "min", None) is not None
    source = parameter if own else getattr(parameter, "type", None)  # click keeps them there
    low, high = getattr(source, "min", None), getattr(source, "max", None)
    if low is not None and high is not None:
        return f"give a number from {low} to {high}; "
    return f"give a number of at least {low}; " if low is not None else ""
