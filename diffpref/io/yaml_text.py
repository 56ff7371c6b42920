"""The door for YAML: plain data only, each key once, with the line every key stands on."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

from diffpref.errors import ConfigError, UnsafeFileError

if TYPE_CHECKING:
    import yaml
    import yaml.error
    import yaml.nodes

MAX_BYTES = 2**18
MAX_DEPTH = 32
MAX_NODES = 20_000
_SYNTAX = "look at this line's indentation, colons and quotes"
_PREFIX = "tag:yaml.org,2002:"
_PLAIN_TAGS = {_PREFIX + name for name in ("str", "int", "float", "bool", "null", "map", "seq")}
_TIMESTAMP = _PREFIX + "timestamp"
# YAML 1.1 takes 1e-5 for a string; everyone who writes it means the number
_EXPONENT = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+")


def load_yaml(source: Path | str, where: str | None = None) -> object:
    """Load one YAML document of plain data.

    Differs from YAML 1.1: 1e-5 is a number, dates stay text, and a repeated key is an error.

    Args:
        source: a Path is read; a str is the text itself.
        where: name used in errors; the path, or "<text>", when absent.

    Raises:
        ConfigError: unreadable, malformed, a key twice or not text, too large or too deep.
        UnsafeFileError: a tag asks for a Python object.
    """
    return load_yaml_lines(source, where)[0]


def load_yaml_lines(source: Path | str, where: str | None = None) -> tuple[object, dict[str, int]]:
    """Load as `load_yaml` does, and also return {dotted key: line}, counted from 1.

    Items of lists are numbered: `data.sources.0.path`.

    Raises:
        ConfigError: as `load_yaml`.
        UnsafeFileError: as `load_yaml`.
    """
    import yaml

    where = where or (str(source) if isinstance(source, Path) else "<text>")
    text = _read(source, where)
    loader: yaml.SafeLoader | None = None
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            return None, {}
        lines = _inspect(node, where)
        return loader.construct_document(node), lines  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    except RecursionError as error:
        hint = "write it flatter; `diffpref config schema` shows the shape"
        raise ConfigError(f"nested deeper than {MAX_DEPTH}", where=where, hint=hint) from error
    except yaml.MarkedYAMLError as error:
        at = _at(where, error.problem_mark)
        raise ConfigError(_problem(error), where=at, hint=_SYNTAX) from error
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"not valid YAML: {error}", where=where, hint=_SYNTAX) from error
    finally:
        if loader is not None:
            loader.dispose()  # pyright: ignore[reportUnknownMemberType]


def _read(source: Path | str, where: str) -> str:
    try:
        data = source.read_bytes() if isinstance(source, Path) else source.encode("utf-8")
        if len(data) > MAX_BYTES:
            what = f"{len(data)} bytes exceed the ceiling of {MAX_BYTES}"
            hint = "give a configuration; data go to data.source"
            raise ConfigError(what, where=where, hint=hint)
        return data.decode("utf-8-sig")
    except UnicodeError as error:
        hint = "save the file as UTF-8"
        raise ConfigError("the text is not UTF-8", where=where, hint=hint) from error
    except OSError as error:
        hint = "check the path"
        raise ConfigError(f"cannot be read: {error.strerror}", where=where, hint=hint) from error


def _inspect(root: "yaml.nodes.Node", where: str) -> dict[str, int]:
    """Check and retag every node before anything is built; aliases count at every use.

    The count is what stops a document of ten lines from unfolding into 10^9 values.
    """
    import yaml

    lines: dict[str, int] = {}
    stack: list[tuple[yaml.nodes.Node, str, int]] = [(root, "", 1)]
    visited = 0
    while stack:
        node, key, depth = stack.pop()
        visited += 1
        if visited > MAX_NODES or depth > MAX_DEPTH:
            what = f"more than {MAX_NODES} values or {MAX_DEPTH} levels, aliases unfolded"
            hint = "write it shorter and without aliases"
            raise ConfigError(what, where=_at(where, node.start_mark), hint=hint)
        _settle_tag(node, where)
        lines.setdefault(key, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            for name, value, line in _entries(node, where):
                path = f"{key}.{name}" if key else name
                lines.setdefault(path, line)
                stack.append((value, path, depth + 1))
        elif isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                stack.append((item, f"{key}.{index}" if key else str(index), depth + 1))
    del lines[""]
    return lines


def _settle_tag(node: "yaml.nodes.Node", where: str) -> None:
    if node.tag == _TIMESTAMP:
        node.tag = _PREFIX + "str"
    elif node.tag == _PREFIX + "str" and getattr(node, "style", None) is None:
        node.tag = _PREFIX + ("float" if _EXPONENT.fullmatch(str(node.value)) else "str")
    if node.tag in _PLAIN_TAGS:
        return
    tag = node.tag.replace(_PREFIX, "!!")
    at = _at(where, node.start_mark)
    if "python" in tag:
        hint = "write plain values; nothing in a config may run code"
        raise UnsafeFileError(f"the tag {tag} asks for a Python object", where=at, hint=hint)
    raise ConfigError(f"the tag {tag} is not plain data", where=at, hint="remove the tag")


def _entries(
    node: "yaml.nodes.MappingNode", where: str
) -> "list[tuple[str, yaml.nodes.Node, int]]":
    entries: list[tuple[str, yaml.nodes.Node, int]] = []
    first: dict[str, int] = {}
    for key, value in node.value:
        at, line = _at(where, key.start_mark), key.start_mark.line + 1
        if key.tag == _PREFIX + "merge":
            what, hint = "merge keys are not supported", "write the fields out"
            raise ConfigError(what, where=at, hint=hint)
        if key.tag not in (_PREFIX + "str", _TIMESTAMP):
            what, hint = f"the key {key.value!s} is not text", "put it in quotes"
            raise ConfigError(what, where=at, hint=hint)
        key.tag = _PREFIX + "str"
        name = str(key.value)
        if name in first:
            what, hint = f"the key '{name}' appears twice", f"it is also on line {first[name]}"
            raise ConfigError(what, where=at, hint=hint)
        first[name] = line
        entries.append((name, value, line))
    return entries


def _problem(error: "yaml.error.MarkedYAMLError") -> str:
    return f"not valid YAML: {error.problem or error.context}"


def _at(where: str, mark: "yaml.error.Mark | None") -> str:
    return where if mark is None else f"{where}:{mark.line + 1}"
