"""YAML and command-line overrides -> a checked configuration, or an error in the file's words."""

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from diffpref.assets import find_config
from diffpref.config.fits import check_fits
from diffpref.config.schema import RunConfig
from diffpref.errors import ConfigError, UsageError, mistaken_value, nearest
from diffpref.io.yaml_text import load_yaml, load_yaml_lines

Tree = dict[str, Any]


def load_config(source: Path | str, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a configuration, apply overrides such as `loop.steps=200`, and check the result.

    Args:
        source: a Path is a file; a str may also name a preset such as `sdxl/dpo`.
        overrides: KEY=VALUE each, applied in order.

    Raises:
        ConfigError: a key, a value or a combination is wrong; names the key and the line.
        UsageError: an override is not KEY=VALUE.
    """
    path = source if isinstance(source, Path) else find_config(source)
    tree, lines = load_yaml_lines(path)
    if not isinstance(tree, dict):
        hint = "begin with a preset: diffpref config copy NAME"
        raise ConfigError("is not a configuration: no keys", where=str(path), hint=hint)
    merged = cast(Tree, tree)
    told = [_override(merged, text) for text in overrides]
    return parse_config(merged, name=str(path), lines=lines, told=told)


def parse_config(
    tree: Mapping[str, Any],
    *,
    name: str = "config",
    lines: Mapping[str, int] | None = None,
    told: Sequence[str] = (),
) -> RunConfig:
    """Check a tree of plain data.

    Args:
        tree: the configuration.
        name: of the file, for errors.
        lines: the line of each key in it.
        told: keys that the command line gave instead.

    Raises:
        ConfigError: a key, a value or a combination is wrong.
    """
    try:
        config = RunConfig.model_validate(tree)
    except ValidationError as error:
        raise _explained(error.errors()[0], name, lines or {}, told) from None
    check_fits(config)
    return config


def dump_config(config: RunConfig) -> str:
    """Return the resolved configuration as YAML that `load_config` reads back."""
    import yaml

    return yaml.safe_dump(
        config.model_dump(mode="json"), sort_keys=False, default_flow_style=None, width=100
    )


def _override(tree: Tree, text: str) -> str:
    key, equals, value = text.partition("=")
    path = key.strip().split(".")
    if not equals or not all(path):
        raise UsageError("an override is KEY=VALUE", where=text, hint="for example loop.steps=200")
    node = tree
    for part in path[:-1]:
        inner = node.get(part)
        if isinstance(inner, str) and part == "method":
            inner = {"name": inner}
        node[part] = dict(cast(Tree, inner)) if isinstance(inner, dict) else {}
        node = cast(Tree, node[part])
    node[path[-1]] = load_yaml(value, text) if value.strip() else None
    return ".".join(path)


def _explained(
    error: ErrorDetails, name: str, lines: Mapping[str, int], told: Sequence[str]
) -> ConfigError:
    path = [str(part) for part in error["loc"]]
    where, hint = _place(path, name, lines, told), _about(path)
    if error["type"] == "extra_forbidden":
        return ConfigError("there is no such key", where=where, hint=_meant(path, error["input"]))
    if error["type"] == "missing":
        return ConfigError("this key is required", where=where, hint=hint)
    return mistaken_value(error, where, hint=hint)


def _place(path: Sequence[str], name: str, lines: Mapping[str, int], told: Sequence[str]) -> str:
    key = ".".join(path)
    if any(f"{key}.".startswith(f"{own}.") or f"{own}.".startswith(f"{key}.") for own in told):
        return f"{key} (on the command line)"
    line = next((lines[k] for k in (key, ".".join(path[:-1])) if k in lines), None)
    return f"{name}:{line}: {key}" if line else f"{name}: {key}"


OTHER_NAMES = MappingProxyType(
    {
        "model.path": "model.base",
        "model.name": "model.base",
        "model.checkpoint": "model.base",
        "learning_rate": "optimizer.lr",
        "batch_size": "data.pairs_per_batch",
        "max_steps": "loop.steps",
    }
)
"""What other trainers call a key of ours."""


def _meant(path: Sequence[str], value: object) -> str:
    """Return the hint for an unknown key: by alias, in its own section, or by its last name."""
    key, known = ".".join(path), _fields(path[:-1])
    if len(path) == 1 and isinstance(value, dict) and value and not _close(key, known, 0.6):
        key = f"{key}.{next(iter(cast(Tree, value)))}"
    leaf = key.rpartition(".")[2]
    alias = OTHER_NAMES.get(key) or OTHER_NAMES.get(leaf)
    if alias:
        return f"did you mean '{alias}'?"
    homes = {name: f"{part}.{name}" for part in (*_fields([]), "loop") for name in _fields([part])}
    elsewhere = _close(leaf, homes, 0.75)
    if leaf not in homes and (_close(path[-1], known, 0.6) or not elsewhere):
        return nearest(path[-1], known)
    return f"did you mean '{homes[elsewhere or leaf]}'?"


def _close(name: str, known: Iterable[str], least: float) -> str | None:
    return next(iter(get_close_matches(name, list(known), n=1, cutoff=least)), None)


def _section(path: Sequence[str]) -> type[BaseModel] | None:
    model: type[BaseModel] = RunConfig
    for part in path:
        field = model.model_fields.get(part)
        if field is None:
            return None
        options = [field.annotation, *get_args(field.annotation)]
        inner = [o for o in options if isinstance(o, type) and issubclass(o, BaseModel)]
        if not inner:
            return None
        model = inner[0]
    return model


def _fields(path: Sequence[str]) -> list[str]:
    section = _section(path)
    return list(section.model_fields) if section else []


def _about(path: Sequence[str]) -> str | None:
    section = _section(path[:-1])
    field = section.model_fields.get(path[-1]) if section else None
    return f"{path[-1]}: {field.description}" if field and field.description else None
