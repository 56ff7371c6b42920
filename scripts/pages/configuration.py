"""docs/configuration.md: every field of a configuration, from the schema itself."""

from collections.abc import Iterator, Mapping
from json import dumps
from typing import Any

from diffpref.config import RunConfig

HEAD = """\
# Configuration

One YAML file describes a run; `diffpref config list` shows the presets and `diffpref config copy
PRESET MINE.yaml` makes one yours. On the command line any field can be overridden: `diffpref
train MINE.yaml loop.steps=400 'parts.loss={kind: robust, epsilon: 0.1}'`. An unknown key, a wrong
type or a combination that cannot be is refused before any weight is loaded, with the nearest
valid choice.

A run needs `model`, `method`, and either `data` or both `rollout` and `reward`; everything else
has a default. A run folder keeps the resolved file as `config.yaml`.

Editors complete and check the file: `diffpref config schema > run.schema.json`, and as its first
line `# yaml-language-server: $schema=run.schema.json`.

This page is written by `python -m scripts.write_pages` from the schema; a test keeps it current.
"""

METHOD = """
## `method`

A name, `method: inpo`, or a name and its hyper-parameters, `method: {name: inpo, beta: 2000,
steps: 10}`. What each method takes, with its defaults: [method reference](method-reference.md).

## `parts`

Parts that replace the method's own, by name: `parts: {loss: exo, guard: {kind: winner, mu:
0.9}}`. Which there are: [methods, parts](methods.md#parts).
"""

Schema = Mapping[str, Any]


def page() -> str:
    """Return the page."""
    schema = RunConfig.model_json_schema()
    top, sections = [], []
    for name, field in schema["properties"].items():
        if name in {"method", "parts"}:
            continue
        section = _section(field, schema)
        if section is None:
            top.append(_row(name, field, schema))
        else:
            rows = list(_rows("", section, schema))
            title = f"\n## `{name}`\n"
            about = section.get("description") or field.get("description")
            sections += [title, *([f"{about}\n"] if about else []), *_table(rows)]
    return "\n".join([HEAD, "## The run\n", *_table(top), METHOD.rstrip(), *sections, ""])


def described() -> Iterator[tuple[str, bool]]:
    """Yield every field's name and whether it says what it means."""
    schema = RunConfig.model_json_schema()
    for name, field in schema["properties"].items():
        section = _section(field, schema)
        if section is None:
            yield name, bool(field.get("description"))
        elif name != "method":
            for dotted, told in _fields(f"{name}.", section, schema):
                yield dotted, bool(told.get("description"))


def _table(rows: list[str]) -> list[str]:
    return ["| field | value | default | meaning |", "|---|---|---|---|", *rows]


def _rows(prefix: str, section: Schema, schema: Schema) -> Iterator[str]:
    required = set(section.get("required", ()))
    for name, field in _fields(prefix, section, schema):
        yield _row(name, field, schema, required=name in required)


def _fields(prefix: str, section: Schema, schema: Schema) -> Iterator[tuple[str, Schema]]:
    """Yield the fields of a section; those of a section inside it by their dotted names."""
    for name, field in section["properties"].items():
        inner = _section(field, schema)
        if inner is None:
            yield prefix + name, field
        else:
            yield from _fields(f"{prefix}{name}.", inner, schema)


def _row(name: str, field: Schema, schema: Schema, *, required: bool = False) -> str:
    default = "required" if required else f"`{dumps(field.get('default'))}`"
    told = [f"`{name}`", _kind(field, schema), default, field.get("description", "")]
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in told)} |"


def _section(field: Schema, schema: Schema) -> Schema | None:
    """Return the section a field holds, or None where it holds a value."""
    for option in (field, *field.get("anyOf", ()), *field.get("allOf", ())):
        if "$ref" in option:
            return schema["$defs"][option["$ref"].rpartition("/")[2]]
    return None


def _kind(field: Schema, schema: Schema) -> str:
    """Return in words which values a field takes."""
    if "anyOf" in field:
        return ", ".join(_kind(option, schema) for option in field["anyOf"])
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if "const" in field:
        return f"`{field['const']}`"
    if "prefixItems" in field:
        return f"[{', '.join(_kind(each, schema) for each in field['prefixItems'])}]"
    return _plain(field, schema)


def _plain(field: Schema, schema: Schema) -> str:
    kind = field.get("type", "anything")
    if kind == "array":
        return f"list of {_kind(field['items'], schema)}"
    if kind == "object":
        values = field.get("additionalProperties")
        return f"mapping to {_kind(values, schema)}" if isinstance(values, dict) else "mapping"
    words = {"integer": "whole number", "boolean": "`true`, `false`", "string": "text"}
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    limits = [f"{sign} {field[key]:g}" for key, sign in signs.items() if key in field]
    return " ".join([words.get(kind, "`null`" if kind == "null" else kind), *limits])
