"""Parts by name: what the configuration's `parts:` may put in place of a method's own."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from inspect import Parameter, signature
from math import isfinite
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError

from diffpref.draws import Draws
from diffpref.emphasis import dynamic, high_noise
from diffpref.errors import ConfigError, mistaken_value, nearest
from diffpref.guards import winner
from diffpref.kernel import StepWeight
from diffpref.labels import hard, smoothed, soft, softmax, thumbs, wins
from diffpref.likelihoods import SquaredError, latent_loglik, perceptual
from diffpref.losses import (
    PairLoss,
    alpha_divergence,
    brier,
    cross_entropy,
    exo,
    hinge,
    kto,
    lambda_rank,
    likelihood,
    linear,
    logistic,
    margin_aware,
    odds_ratio,
    plackett_luce,
    robust,
    score_matching,
    squared,
)
from diffpref.objective import PreferenceObjective
from diffpref.offsets import constant, score_gap
from diffpref.step_objective import StepObjective
from diffpref.timesteps import discrete, tilted, uniform
from diffpref.toolkit import Toolkit
from diffpref.trajectories.forward import forward
from diffpref.trajectories.inversion import inversion
from diffpref.types import AnyObjective, Labeller, Noised
from diffpref.walk_objective import PairedWalks

Factory = Callable[..., Any]
Spec = str | Mapping[str, object]


def _hard() -> Labeller:
    return hard


def _soft() -> Labeller:
    return soft


def _thumbs() -> Labeller:
    return thumbs


def _latent() -> SquaredError[Noised]:
    return latent_loglik


def _winner(*, weight: float) -> float:
    """Add weight x the preferred image's mean squared error to the loss."""
    return weight


def _exact() -> StepWeight:
    return "exact"


def _flat() -> StepWeight:
    return "flat"


def _guidance() -> StepWeight:
    return "guidance"


PARTS: Mapping[str, Mapping[str, Factory]] = {
    "loss": {
        "logistic": logistic,
        "cross_entropy": cross_entropy,
        "hinge": hinge,
        "squared": squared,
        "robust": robust,
        "exo": exo,
        "alpha_divergence": alpha_divergence,
        "brier": brier,
        "linear": linear,
        "score_matching": score_matching,
        "margin_aware": margin_aware,
        "odds_ratio": odds_ratio,
        "likelihood": likelihood,
        "lambda_rank": lambda_rank,
        "plackett_luce": plackett_luce,
        "kto": kto,
    },
    "label": {
        "hard": _hard,
        "soft": _soft,
        "smoothed": smoothed,
        "softmax": softmax,
        "wins": wins,
        "thumbs": _thumbs,
    },
    "timesteps": {"uniform": uniform, "discrete": discrete, "tilted": tilted},
    "trajectory": {"forward": forward, "inversion": inversion},
    "likelihood": {"latent": _latent, "perceptual": perceptual},
    "emphasis": {"high_noise": high_noise, "dynamic": dynamic},
    "offset": {"score_gap": score_gap, "constant": constant},
    "anchor": {"winner": _winner},
    "guard": {"winner": winner},
    "weight": {"exact": _exact, "flat": _flat, "guidance": _guidance},
}
"""Part -> its kinds. A factory's keyword arguments are the kind's settings; a positional argument
named `schedule` or `embedder` is given the run's."""

OF_STEPS: Mapping[type, frozenset[str]] = {
    StepObjective: frozenset({"loss", "weight"}),
    PairedWalks: frozenset({"loss"}),
}
"""What can be replaced where sampled steps are compared; of offline methods all but the weight."""

ALSO_KNOWN_AS = {
    "sigmoid": "logistic",
    "ipo": "squared",
    "cdpo": "cross_entropy",
    "rdpo": "robust",
    "dmpo": "exo",
    "sft": "likelihood",
    "dspo": "score_matching",
    "mapo": "margin_aware",
    "orpo": "odds_ratio",
    "alpha_dpo": "alpha_divergence",
    "rankdpo": "lambda_rank",
    "listwise": "plackett_luce",
    "renoise": "inversion",
    "ncp": "perceptual",
    "sdpo": "winner",
    "odpo": "score_gap",
    "beta_dpo": "dynamic",
}
"""Names other tools use, for error messages."""


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
