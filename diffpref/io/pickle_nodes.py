"""What a pickle says, as plain nodes that nothing was imported or called for."""

from dataclasses import dataclass, field
from typing import cast


@dataclass(frozen=True, slots=True)
class Name:
    """Something a pickle imports; it never is."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(frozen=True, slots=True, eq=False)
class Outside:
    """What the pickle keeps elsewhere: its persistent id."""

    id: object


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Made:
    """What a call would have made; dicts and sets too.

    kind: what would be called, mostly a `Name`. args: with what. state: what would be set on the
    result. pairs: keys and values it was given. values: what was appended or added.

    It has no equality and no text: parts may be shared so often that looking through them all
    would never end.
    """

    kind: object
    args: object = ()
    state: list[object] = field(default_factory=list[object])
    pairs: list[tuple[object, object]] = field(default_factory=list[tuple[object, object]])
    values: list[object] = field(default_factory=list[object])

    @property
    def given(self) -> tuple[object, ...]:
        """The arguments, none if the pickle gives no tuple."""
        args = self.args
        return cast(tuple[object, ...], args) if isinstance(args, tuple) else ()


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Pickle:
    """The root of a pickle, every name it would import, and all it keeps elsewhere."""

    root: object
    names: frozenset[Name]
    outside: tuple[Outside, ...]


DICT, SET, FROZENSET = (Name("builtins", name) for name in ("dict", "set", "frozenset"))
