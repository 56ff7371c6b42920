"""Settings as read from a file, converted to the types of a factory's keyword arguments."""

from collections.abc import Callable, Mapping
from inspect import Parameter, signature
from math import isfinite
from typing import Any

from pydantic import TypeAdapter, ValidationError

from diffpref.errors import ConfigError, mistaken_value, nearest

Factory = Callable[..., Any]


def checked(
    factory: Factory, settings: Mapping[str, object], *, where: str, owner: str
) -> dict[str, Any]:
    """Return the settings converted to the types of a factory's keyword arguments.

    Args:
        factory: the function the settings are for.
        settings: name -> value as read from a file.
        where: config key of the settings, for messages.
        owner: what a user calls the factory.

    Returns:
        The same names with converted values.

    Raises:
        ConfigError: a setting is unknown, of the wrong type, or not finite.
    """
    knobs = parameters(factory)
    for name in settings:
        if name not in knobs:
            raise ConfigError(
                f"{owner} takes {', '.join(knobs) or 'no settings'}",
                where=f"{where}.{name}",
                hint=nearest(name, knobs) if knobs else "remove it",
            )
    return {
        name: _value(value, knobs[name].annotation, where=f"{where}.{name}")
        for name, value in settings.items()
    }


def parameters(factory: Factory) -> dict[str, Parameter]:
    """Return a factory's keyword-only parameters: names, annotations and defaults."""
    found = signature(factory).parameters
    return {name: p for name, p in found.items() if p.kind is Parameter.KEYWORD_ONLY}


def _value(value: object, annotation: Any, *, where: str) -> Any:
    mistaken = isinstance(value, bool) and annotation is not bool
    try:
        converted: Any = TypeAdapter(annotation).validate_python(value)
    except ValidationError as error:
        raise mistaken_value(error.errors()[0], where, shown=value) from None
    if mistaken or (type(converted) is float and not isfinite(converted)):
        hint = f"write {where} as a plain number"
        raise ConfigError(f"{value!r} is not a finite number", where=where, hint=hint)
    return converted
