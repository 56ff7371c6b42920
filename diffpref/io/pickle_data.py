"""Reads a pickle as data: its instructions are followed, nothing is imported and nothing called.

An unpickler builds objects by calling what the pickle names. Here a name stays a `Name`, a call
stays a `Made` that remembers what would have been called with what, and an object's state is kept
beside it. So no class's `__reduce__`, `__setstate__` or `__new__` can have an effect, and modules
that do not exist here are no obstacle. Only what protocols 2 and later write is read.
"""

import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from typing import cast

from diffpref.io.pickle_nodes import DICT, FROZENSET, SET, Made, Name, Outside, Pickle

MAX_OPCODES = 5_000_000
"""A pickled network of a billion parameters has about 300,000."""


def read_pickle(file: BytesIO) -> Pickle:
    """Read one pickle from a file, which is left behind its end.

    Raises:
        ValueError: malformed, longer than MAX_OPCODES, or of a kind that needs a program.
    """
    machine = _Machine()
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):
            if count >= MAX_OPCODES:
                raise ValueError(f"more than {MAX_OPCODES} instructions")
            if opcode.name == "STOP":
                names, outside = frozenset(machine.names), tuple(machine.outside)
                return Pickle(machine.stack.pop(), names, outside)
            _step(machine, opcode.name, argument)
    except (IndexError, KeyError, OverflowError) as error:
        raise ValueError(f"malformed: {error}") from error
    raise ValueError("it does not end")


@dataclass(slots=True)
class _Machine:
    """A pickle's stack, the stacks below its marks, and its memo."""

    stack: list[object] = field(default_factory=list[object])
    below: list[list[object]] = field(default_factory=list[list[object]])
    memo: dict[int, object] = field(default_factory=dict[int, object])
    names: set[Name] = field(default_factory=set[Name])
    outside: list[Outside] = field(default_factory=list[Outside])

    def mark(self) -> None:
        self.below.append(self.stack)
        self.stack = []

    def above_mark(self) -> list[object]:
        found, self.stack = self.stack, self.below.pop()
        return found

    def name(self, module: object, name: object) -> None:
        if not (isinstance(module, str) and isinstance(name, str)):
            raise ValueError("a name that is no text")
        found = Name(module, name)
        self.names.add(found)
        self.stack.append(found)

    def refer(self) -> None:
        found = Outside(self.stack.pop())
        self.outside.append(found)
        self.stack.append(found)

    def made(self) -> Made:
        target = self.stack[-1]
        if not isinstance(target, Made):
            raise ValueError(f"it changes a {type(target).__name__}")
        return target


def _step(machine: _Machine, opcode: str, argument: object) -> None:
    if opcode in _LITERAL:
        machine.stack.append(argument)
    elif opcode in _CONSTANT:
        machine.stack.append(_CONSTANT[opcode])
    elif opcode in ("BINPUT", "LONG_BINPUT"):
        machine.memo[cast(int, argument)] = machine.stack[-1]
    elif opcode in ("BINGET", "LONG_BINGET"):
        machine.stack.append(machine.memo[cast(int, argument)])
    elif opcode == "GLOBAL":
        module, _, name = cast(str, argument).partition(" ")
        machine.name(module, name)
    elif opcode in _ALONE:
        _ALONE[opcode](machine)
    else:
        raise ValueError(f"it uses {opcode}")


def _tuple(machine: _Machine, size: int) -> None:
    if len(machine.stack) < size:
        raise ValueError("a tuple of what is not there")
    machine.stack[-size:] = [tuple(machine.stack[-size:])]


def _closing(build: Callable[[list[object]], object]) -> Callable[[_Machine], None]:
    """Return what puts something built of all above the mark in its place."""

    def close(machine: _Machine) -> None:
        built = build(machine.above_mark())
        machine.stack.append(built)

    return close


def _set_items(machine: _Machine, flat: list[object]) -> None:
    machine.made().pairs.extend(zip(flat[::2], flat[1::2], strict=True))


def _append(machine: _Machine, items: list[object]) -> None:
    target = machine.stack[-1]
    if isinstance(target, list):
        cast(list[object], target).extend(items)
    else:
        machine.made().values.extend(items)


def _build(machine: _Machine) -> None:
    state = machine.stack.pop()
    machine.made().state.append(state)


def _call(machine: _Machine) -> None:
    args = machine.stack.pop()
    machine.stack.append(Made(machine.stack.pop(), args))


def _call_with_names(machine: _Machine) -> None:
    machine.stack.pop()  # arguments by name: no kind that is understood here has any
    _call(machine)


def _stack_name(machine: _Machine) -> None:
    name = machine.stack.pop()
    machine.name(machine.stack.pop(), name)


def _memoize(machine: _Machine) -> None:
    machine.memo[len(machine.memo)] = machine.stack[-1]


def _pop(machine: _Machine) -> None:
    machine.stack.pop()


_LITERAL = {
    "BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT", "BINSTRING", "SHORT_BINSTRING",
    "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8",
    "BYTEARRAY8",
}  # fmt: skip
_CONSTANT: Mapping[str, object] = {
    "NONE": None,
    "NEWTRUE": True,
    "NEWFALSE": False,
    "EMPTY_TUPLE": (),
}
_ALONE: Mapping[str, Callable[[_Machine], None]] = {
    "PROTO": lambda _: None,
    "FRAME": lambda _: None,
    "MARK": _Machine.mark,
    "POP": _pop,
    "POP_MARK": lambda machine: machine.above_mark().clear(),
    "MEMOIZE": _memoize,
    "EMPTY_LIST": lambda machine: machine.stack.append([]),
    "EMPTY_DICT": lambda machine: machine.stack.append(Made(DICT)),
    "EMPTY_SET": lambda machine: machine.stack.append(Made(SET)),
    "FROZENSET": _closing(lambda items: Made(FROZENSET, values=items)),
    "TUPLE": _closing(tuple),
    "TUPLE1": lambda machine: _tuple(machine, 1),
    "TUPLE2": lambda machine: _tuple(machine, 2),
    "TUPLE3": lambda machine: _tuple(machine, 3),
    "APPEND": lambda machine: _append(machine, [machine.stack.pop()]),
    "APPENDS": lambda machine: _append(machine, machine.above_mark()),
    "ADDITEMS": lambda machine: _append(machine, machine.above_mark()),
    "SETITEM": lambda machine: _set_items(machine, [machine.stack.pop(-2), machine.stack.pop()]),
    "SETITEMS": lambda machine: _set_items(machine, machine.above_mark()),
    "STACK_GLOBAL": _stack_name,
    "REDUCE": _call,
    "NEWOBJ": _call,
    "NEWOBJ_EX": _call_with_names,
    "BUILD": _build,
    "BINPERSID": _Machine.refer,
}
