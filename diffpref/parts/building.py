"""An objective with some of its parts replaced by others."""

from collections.abc import Mapping
from dataclasses import replace
from inspect import Parameter, signature
from typing import Any

import torch

from diffpref.draws import Draws
from diffpref.errors import ConfigError, nearest
from diffpref.losses import (
    PairLoss,
)
from diffpref.objective import PreferenceObjective
from diffpref.parts.checking import Factory, checked, parameters
from diffpref.parts.table import ALSO_KNOWN_AS, OF_STEPS, PARTS, Spec
from diffpref.step_objective import StepObjective
from diffpref.toolkit import Toolkit
from diffpref.types import AnyObjective
from diffpref.walk_objective import PairedWalks


def with_parts(objective: AnyObjective, parts: Mapping[str, Spec], kit: Toolkit) -> AnyObjective:
    """Return the objective with the named parts replaced.

    Args:
        objective: a method's own composition.
        parts: part -> kind, or -> {"kind": kind, **settings}. A pair loss inherits the beta of
            the loss it replaces unless it sets its own.
        kit: gives the schedule to parts that need it.

    Returns:
        A new objective; the given one is unchanged.

    Raises:
        ConfigError: a part, kind or setting is unknown, missing, or does not fit.
    """
    if not parts:
        return objective
    if not isinstance(objective, PreferenceObjective | StepObjective | PairedWalks):
        raise ConfigError(
            "this method is not composed of parts", where="parts", hint="remove parts:"
        )
    taken = OF_STEPS.get(type(objective), PARTS.keys() - {"weight"})
    changed = objective
    for part, spec in parts.items():
        if part not in taken:
            known = f"this method has no {part}" if part in PARTS else f"'{part}' is not a part"
            raise ConfigError(known, where=f"parts.{part}", hint=nearest(part, taken))
        built = _build(part, spec, kit, changed.loss)
        if part == "loss" and type(objective) in OF_STEPS:
            _check_pair(built)
        try:
            changed = replace(changed, **{part: built})
        except ValueError as error:
            hint = f"change parts.{part}, or remove it"
            raise ConfigError(str(error), where=f"parts.{part}", hint=hint) from error
    if isinstance(changed, PreferenceObjective):
        # A step beyond the schedule is refused now rather than when training starts.
        changed.timesteps(Draws(seed=0, positions=torch.tensor([0])), changed.length)
    return changed


def _build(part: str, spec: Spec, kit: Toolkit, old_loss: object) -> Any:
    where = f"parts.{part}"
    kind, settings = _read(part, spec)
    factory = PARTS[part][kind]
    if part == "loss":
        settings = _inherited(factory, settings, old_loss)
    ready = checked(factory, settings, where=where, owner=kind)
    for name, knob in parameters(factory).items():
        if knob.default is Parameter.empty and name not in ready:
            raise ConfigError(
                f"{kind} needs {name}",
                where=f"{where}.{name}",
                hint=f"write parts: {{{part}: {{kind: {kind}, {name}: ...}}}}",
            )
    given = {"schedule": kit.schedule, "embedder": kit.embedder}
    wanted = [given[name] for name in signature(factory).parameters if name in given]
    try:
        built = factory(*wanted, **ready)
    except ValueError as error:
        hint = f"change {where}, or leave it out for its default"
        raise ConfigError(str(error), where=where, hint=hint) from error
    if part == "loss":
        _check_unit(kind, built, old_loss)
    return built


def _read(part: str, spec: Spec) -> tuple[str, dict[str, object]]:
    settings: dict[str, object] = {"kind": spec} if isinstance(spec, str) else dict(spec)
    kind = settings.pop("kind", None)
    if isinstance(kind, str) and kind in PARTS[part]:
        return kind, settings
    alias = ALSO_KNOWN_AS.get(str(kind).lower(), "")
    hint = f"it is called '{alias}' here" if alias in PARTS[part] else ""
    raise ConfigError(
        f"'{kind}' is not a {part}" if kind is not None else "names no kind",
        where=f"parts.{part}" if kind is not None else f"parts.{part}.kind",
        hint=hint or nearest(str(kind), PARTS[part]),
    )


def _inherited(factory: Factory, settings: dict[str, object], old: object) -> dict[str, object]:
    """Carry beta over from one pair loss to another that has no strength of its own."""
    knob = parameters(factory).get("beta")
    wanted = knob is not None and knob.default is Parameter.empty
    return {"beta": old.beta, **settings} if wanted and isinstance(old, PairLoss) else settings


def _check_unit(kind: str, new: Any, old: Any) -> None:
    """Refuse a loss that learns from something else than the method's data."""
    if new.unit != old.unit:
        raise ConfigError(
            f"{kind} learns from {UNITS[new.unit]}, this method from {UNITS[old.unit]}",
            where="parts.loss",
            hint=f"choose method: {METHOD_OF[new.unit]}",
        )


def _check_pair(loss: object) -> None:
    """Refuse a loss that reads more than the difference of two log ratios."""
    if not isinstance(loss, PairLoss):
        raise ConfigError(
            "a step has only the logit of its pair, and this loss reads more",
            where="parts.loss",
            hint="choose a loss on the logit such as hinge",
        )


UNITS = {
    "images": "single images",
    "pairs": "pairs",
    "lists": "ranked lists",
    "unpaired": "single images that are each liked or disliked",
}


METHOD_OF = {
    "images": "sft",
    "pairs": "diffusion_dpo",
    "lists": "rank_dpo",
    "unpaired": "diffusion_kto",
}
"""The plainest method for each unit."""
