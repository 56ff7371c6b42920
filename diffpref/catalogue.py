"""Methods by name: finding one, what it takes, building it, describing it."""

from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import entry_points
from inspect import Parameter, getmodule

from diffpref.errors import ConfigError, nearest
from diffpref.methods import METHODS
from diffpref.papers import Method
from diffpref.parts import Spec, checked, parameters, with_parts
from diffpref.toolkit import Toolkit
from diffpref.types import AnyObjective

PLUGINS = "diffpref.methods"
"""Entry-point group in which other packages offer a `Method`."""


def find_method(name: str) -> Method:
    """Return a method of the table, or else one a package offers under this name.

    Args:
        name: what `method.name` says.

    Returns:
        The method's row; a plugin is imported only here.

    Raises:
        ConfigError: nobody has the name, or the plugin is not a Method.
    """
    if name in METHODS:
        return METHODS[name]
    offered = {entry.name: entry for entry in entry_points(group=PLUGINS)}
    if name not in offered:
        raise ConfigError(
            f"'{name}' is not a method", where="method.name", hint=nearest(name, method_names())
        )
    found: object = offered[name].load()
    if not isinstance(found, Method):
        raise ConfigError(
            f"the plugin {offered[name].value} is a {type(found).__name__}",
            where="method.name",
            hint="its entry point must name a diffpref.papers.Method",
        )
    return found


def method_names() -> list[str]:
    """Return every known name, sorted; loads no plugin."""
    return sorted({*METHODS, *(entry.name for entry in entry_points(group=PLUGINS))})


def method_parameters(name: str) -> dict[str, Parameter]:
    """Return a method's hyper-parameters: names, annotations and defaults of its signature."""
    return parameters(find_method(name).build)


def build_objective(
    name: str,
    kit: Toolkit,
    settings: Mapping[str, object],
    parts: Mapping[str, Spec],
) -> AnyObjective:
    """Return the objective that `method:` and `parts:` of a configuration describe.

    Args:
        name: `method.name`.
        kit: the run's toolkit.
        settings: the other keys of `method`, the hyper-parameters that are not default.
        parts: the keys of `parts`.

    Returns:
        The objective.

    Raises:
        ConfigError: anything is unknown or does not fit; names the key.
    """
    method = find_method(name)
    ready = checked(method.build, settings, where="method", owner=name)
    try:
        objective = method.build(kit, **ready)
    except ValueError as error:
        hint = f"`diffpref methods show {name}` lists its settings and their defaults"
        raise ConfigError(str(error), where="method", hint=hint) from error
    return with_parts(objective, parts, kit)


def describe(name: str) -> dict[str, object]:
    """Return what `methods show` prints, ready for JSON."""
    method = find_method(name)
    module = getmodule(method.build)
    return {
        "name": name,
        "summary": method.summary,
        "status": method.status,
        "reference": method.reference,
        "data": method.data,
        "parameters": {
            key: None if knob.default is Parameter.empty else knob.default
            for key, knob in method_parameters(name).items()
        },
        "equation": (module.__doc__ or "").strip() if module else "",
        "paper": {
            **asdict(method.paper),
            "url": method.paper.url,
            "short": method.paper.short,
        },
        "bibtex": method.paper.bibtex,
    }
