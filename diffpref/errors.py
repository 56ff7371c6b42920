"""Errors a user can act on: what is wrong, where, and one thing to do next."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


class DiffprefError(Exception):
    """A problem the user can fix. The command line prints it without a traceback.

    `where` is a config key or file:line; `hint` is the next action, in the user's words.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str | None = None, hint: str | None = None) -> None:
        self.what, self.where, self.hint = what, where, hint
        super().__init__(what)

    def __str__(self) -> str:
        head = f"{self.where}: {self.what}" if self.where else self.what
        return f"{head}\n  {self.hint}" if self.hint else head


class UsageError(DiffprefError):
    """The command line is wrong."""

    exit_code = 2


class ConfigError(DiffprefError):
    """A field of the configuration is wrong."""

    exit_code = 3


class DataError(DiffprefError):
    """The user's data cannot be used."""

    exit_code = 4


class CheckpointError(DiffprefError):
    """A checkpoint is damaged or belongs to another run."""

    exit_code = 5


class UnsafeFileError(DiffprefError):
    """A file was refused because opening it could run code or exhaust the machine."""

    exit_code = 6


class DivergedError(DiffprefError):
    """Training produced non-finite numbers again after the last good checkpoint was restored."""

    exit_code = 7


class OutOfMemoryError(DiffprefError):
    """The step does not fit, even one row at a time."""

    exit_code = 8


class HubError(DiffprefError):
    """A model or data set could not be fetched."""

    exit_code = 9


class DiskError(DiffprefError):
    """The disk is full or the folder cannot be written."""

    exit_code = 10


class Preempted(DiffprefError):  # noqa: N818  (a state of the run, not a fault)
    """The run was asked to stop, saved its state and can be resumed."""

    exit_code = 75


LISTED = 8
"""Names listed where none is close."""


def nearest(name: str, known: Iterable[str], *, listed_by: str | None = None) -> str:
    """Return a sentence that names the closest known choices, or some of all where none is close.

    Args:
        name: what the user wrote.
        known: what exists.
        listed_by: the command that lists all of it.
    """
    names = sorted(known)
    close = get_close_matches(name, names, n=4, cutoff=0.5)
    if close:
        others = f" or {', '.join(close[1:])}" if close[1:] else ""
        return f"did you mean '{close[0]}'{others}?"
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    listing = f"known: {', '.join(names[:LISTED])}{more}"
    return f"{listing}; `{listed_by}` lists them all" if listed_by and more else listing


def why(error: Exception) -> str:
    """Return what an error says, without the number and path the system adds to it."""
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)


def mistaken_value(
    error: "ErrorDetails", where: str, *, shown: object = None, hint: str | None = None
) -> ConfigError:
    """Return the error of a value that is not of its field's kind.

    Args:
        error: of pydantic.
        where: the config key.
        shown: the whole value, if pydantic's is a part of it.
        hint: what to do, for other mistakes than a wrong choice.
    """
    value = error["input"] if shown is None else shown
    if error["type"] in ("literal_error", "enum"):
        choices = str(error.get("ctx", {}).get("expected", "")).replace(" or ", ", ")
        known = [choice.strip(" '") for choice in choices.split(",")]
        near = nearest(str(value), known)
        return ConfigError(f"{value!r} is not a choice", where=where, hint=near)
    advice = hint or f"change {where}, or leave it out for its default"
    return ConfigError(f"{value!r}: {error['msg']}", where=where, hint=advice)
