"""Finds a scorer by name: the table first, then what other packages offer."""

from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.metadata import entry_points
from types import MappingProxyType

import torch

from diffpref.errors import UsageError, nearest
from diffpref.rewards.model import ScoringModel
from diffpref.rewards.options import LoadOptions
from diffpref.rewards.scorer import LoadedScorer

Factory = Callable[[LoadOptions], ScoringModel]

SCORERS: Mapping[str, str] = MappingProxyType(
    {
        "world-oracle": "diffpref.rewards.world:load_oracle",
        "world-fidelity": "diffpref.rewards.world:load_fidelity",
        "world-reward": "diffpref.rewards.clip:load_world_reward",
    }
)
"""Name -> module:function, imported only when named; as in an entry point."""

PLUGINS = "diffpref.scorers"
"""Entry-point group in which other packages offer a `Factory`."""

DTYPES = MappingProxyType({"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16})


def scorer_names() -> list[str]:
    """Return every known name, sorted; loads nothing."""
    return sorted({*SCORERS, *(entry.name for entry in entry_points(group=PLUGINS))})


def load_scorer(
    name: str, *, weights: str | None = None, device: str = "cpu", dtype: str = "fp32"
) -> LoadedScorer:
    """Load a scorer, frozen.

    Args:
        name: of the table or of an installed plugin; a variant follows a colon.
        weights: file or folder instead of the scorer's own.
        device: where it computes.
        dtype: fp32, bf16 or fp16.

    Returns:
        The scorer.

    Raises:
        UsageError: an unknown name, variant or precision, or a plugin that is no scorer.
        DataError: the weights are missing or damaged.
    """
    plain, _, variant = name.partition(":")
    if dtype not in DTYPES:
        hint = nearest(dtype, DTYPES)
        raise UsageError(f"'{dtype}' is not a precision", where=f"scorer {name}", hint=hint)
    options = LoadOptions(
        variant=variant, weights=weights, device=torch.device(device), dtype=DTYPES[dtype]
    )
    if plain in SCORERS:
        options.refuse_variant(plain)
    model = _factory(plain)(options)
    if not isinstance(model, ScoringModel):
        raise UsageError(
            f"the plugin '{plain}' gave a {type(model).__name__}",
            where=f"scorer {name}",
            hint="its entry point must return a diffpref.rewards.model.ScoringModel",
        )
    return LoadedScorer(model)


def _factory(name: str) -> Factory:
    if name in SCORERS:
        module, _, function = SCORERS[name].partition(":")
        return getattr(import_module(module), function)
    offered = {entry.name: entry for entry in entry_points(group=PLUGINS)}
    if name not in offered:
        hint = nearest(name, scorer_names())
        raise UsageError(f"'{name}' is not a scorer", where="scorer", hint=hint)
    return offered[name].load()
