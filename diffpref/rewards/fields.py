"""Reads the fields of a small YAML or JSON file that describes a scorer, each by its type."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diffpref.errors import ConfigError, nearest
from diffpref.io import load_yaml


class Fields:
    """The fields of one object; `done` refuses those nobody asked for.

    Every reader raises a ConfigError that names the field if it has another type.
    """

    def __init__(self, found: object, where: str) -> None:
        if not isinstance(found, dict):
            hint = "write one field per line, for example  weight: 1.0"
            raise ConfigError("is no object with named fields", where=where, hint=hint)
        self.where = where
        self._found: Mapping[str, Any] = found
        self._asked: set[str] = set()

    def has(self, name: str) -> bool:
        """Say whether the field is there and not null."""
        self._asked.add(name)
        return self._found.get(name) is not None

    def text(self, name: str, default: str | None = None) -> str:
        """Return a text; without a default it must be there."""
        if not self.has(name):
            if default is None:
                raise self.wrong(name, "is missing", f"add the line  {name}: ...")
            return default
        value = self._found[name]
        if not isinstance(value, str) or not value.strip():
            raise self.wrong(name, "is not a text", "put it in quotes")
        return value

    def number(
        self, name: str, default: float | None = None, *, above: float | None = None
    ) -> float:
        """Return a number; without a default it must be there."""
        if not self.has(name):
            if default is None:
                raise self.wrong(name, "is missing", f"add the line  {name}: 1.0")
            return default
        value = self._found[name]
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.wrong(name, f"is not a number: {value!r}", "write for example 1.0")
        if above is not None and not value > above:
            raise self.wrong(name, f"is {value:g}", f"it must be above {above:g}")
        return float(value)

    def whole(self, name: str, default: int, *, least: int = 0) -> int:
        """Return a whole number of at least so much."""
        value = self.number(name, float(default))
        if value != int(value) or value < least:
            raise self.wrong(name, f"is {value:g}", f"write a whole number from {least}")
        return int(value)

    def object(self, name: str) -> Mapping[str, Any]:
        """Return an object, empty if it is not there."""
        if not self.has(name):
            return {}
        value = self._found[name]
        if not isinstance(value, dict):
            raise self.wrong(name, "is not an object", "write its fields below it, indented")
        return value

    def items(self, name: str) -> "list[Fields]":
        """Return the objects of a list that must not be empty."""
        value = self._found[name] if self.has(name) else None
        if not isinstance(value, list) or not value:
            raise self.wrong(name, "is not a list", "begin every entry with  - ")
        return [Fields(each, f"{self.where}: {name}.{i}") for i, each in enumerate(value)]

    def done(self) -> None:
        """Refuse fields that nobody asked for.

        Raises:
            ConfigError: names one and the known ones.
        """
        for name in self._found:
            if name not in self._asked:
                raise self.wrong(name, "is not a field here", nearest(name, self._asked))

    def wrong(self, name: str, what: str, hint: str) -> ConfigError:
        """Return the error about a field."""
        return ConfigError(what, where=f"{self.where}: {name}", hint=hint)


def read_fields(path: Path) -> Fields:
    """Read a file of named fields.

    Raises:
        ConfigError: it cannot be read or holds something else.
    """
    return Fields(load_yaml(path), str(path))
