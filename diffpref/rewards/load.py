"""Finds a scorer by name: the table first, then what other packages offer."""

from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from types import MappingProxyType

import torch

from diffpref.errors import UsageError, nearest
from diffpref.rewards.cards import SCORERS
from diffpref.rewards.libraries import importing
from diffpref.rewards.model import PairwiseModel, ScoringModel
from diffpref.rewards.options import LoadOptions
from diffpref.rewards.scorer import LoadedScorer

Factory = Callable[[LoadOptions], ScoringModel | PairwiseModel]

PLUGINS = "diffpref.scorers"
"""Entry-point group in which other packages offer a `Factory`."""

DTYPES = MappingProxyType({"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16})


def scorer_names() -> list[str]:
    """Return every known name, sorted; loads nothing."""
    return sorted({*SCORERS, *(entry.name for entry in entry_points(group=PLUGINS))})


def load_scorer(
    name: str,
    *,
    weights: str | Mapping[str, str] | None = None,
    weights_dir: str | Path | None = None,
    device: str = "cpu",
    dtype: str = "fp32",
    allow_download: bool = False,
    published: bool = True,
) -> LoadedScorer:
    """Load a scorer, frozen.

    Args:
        name: of the table or of an installed plugin; a variant follows a colon.
        weights: file or folder instead of the scorer's own; by part for a scorer of several.
        weights_dir: folder to search first; then $DIFFPREF_WEIGHTS and the hub's local cache.
        device: where it computes.
        dtype: precision of its networks: fp32, bf16 or fp16; scores are float32.
        allow_download: fetch what is missing from the hub, unless HF_HUB_OFFLINE is set.
        published: refuse weights of another size than the published ones; False for your own.

    Returns:
        The scorer.

    Raises:
        UsageError: an unknown name, variant or precision, a plugin that is no scorer, or a library
            that is not installed.
        DataError: the weights are missing (`MissingWeightsError`), damaged, or another model's
            (`WeightsMismatchError`).
        UnsafeFileError: a weights file that could run code.
        HubError: a download that was asked for failed.
    """
    plain, _, variant = name.partition(":")
    wide = precision(dtype, where=f"scorer {name}")
    if plain in SCORERS:
        variant = SCORERS[plain].variant(variant)
    options = LoadOptions(
        variant=variant,
        weights=weights,
        weights_dir=None if weights_dir is None else Path(weights_dir).expanduser(),
        device=torch.device(device),
        dtype=wide,
        allow_download=allow_download,
        published=published,
    )
    with importing(f"scorer {name}"):
        model = _factory(plain)(options)
    if not isinstance(model, ScoringModel | PairwiseModel):
        raise UsageError(
            f"the plugin '{plain}' gave a {type(model).__name__}",
            where=f"scorer {name}",
            hint="its entry point must return a diffpref.rewards.model.ScoringModel",
        )
    return LoadedScorer(model)


def precision(name: str, *, where: str) -> torch.dtype:
    """Return the precision of a name.

    Raises:
        UsageError: not one of fp32, bf16, fp16.
    """
    if name not in DTYPES:
        raise UsageError(f"'{name}' is not a precision", where=where, hint=nearest(name, DTYPES))
    return DTYPES[name]


def _factory(name: str) -> Factory:
    if name in SCORERS:
        module, _, function = SCORERS[name].factory.partition(":")
        return getattr(import_module(module), function)
    offered = {entry.name: entry for entry in entry_points(group=PLUGINS)}
    if name not in offered:
        texts = import_module("diffpref.rewards.text.cards").TEXT_SCORERS
        if name in texts:
            what = f"'{name}' scores text, not images"
            hint = f'label prompts --text-scorer {name}, or load_text_scorer("{name}")'
            raise UsageError(what, where="scorer", hint=hint)
        hint = nearest(name, scorer_names(), listed_by="diffpref scorers list")
        raise UsageError(f"'{name}' is not a scorer", where="scorer", hint=hint)
    return offered[name].load()
