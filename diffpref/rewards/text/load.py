"""Finds a text scorer by name."""

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path

import torch

from diffpref.errors import UsageError, nearest
from diffpref.rewards.load import precision, scorer_names
from diffpref.rewards.options import LoadOptions
from diffpref.rewards.text.cards import TEXT_SCORERS
from diffpref.rewards.text.model import PairwiseTextModel, TextModel
from diffpref.rewards.text.scorer import LoadedTextScorer

Factory = Callable[[LoadOptions], TextModel | PairwiseTextModel]


def text_scorer_names() -> list[str]:
    """Return every known name, sorted; loads nothing."""
    return sorted(TEXT_SCORERS)


def load_text_scorer(
    name: str,
    *,
    weights: str | Mapping[str, str] | None = None,
    weights_dir: str | Path | None = None,
    device: str = "cpu",
    dtype: str = "fp32",
    allow_download: bool = False,
    published: bool = True,
) -> LoadedTextScorer:
    """Load a text scorer, frozen; no code that comes with weights is run.

    Args:
        name: of TEXT_SCORERS; a variant follows a colon.
        weights: the model's folder, or the file that describes an endpoint.
        weights_dir: folder to search first; then $DIFFPREF_WEIGHTS and the hub's local cache.
        device: where it computes.
        dtype: precision of the network: fp32, bf16 or fp16; heads and scores are float32.
        allow_download: fetch what is missing from the hub, unless HF_HUB_OFFLINE is set.
        published: refuse weights of another size than the published ones, where that is known.

    Returns:
        The scorer.

    Raises:
        UsageError: an unknown name, variant or precision, or an endpoint without an address.
        DataError: the weights are missing, damaged, another model's, or its filler token is
            ambiguous.
        UnsafeFileError: pickled weights.
        HubError: a download that was asked for failed.
    """
    plain, _, variant = name.partition(":")
    if plain not in TEXT_SCORERS:
        if plain in scorer_names():
            what = f"'{plain}' scores images, not text"
            hint = f'diffpref score --scorer {plain}, or load_scorer("{plain}")'
            raise UsageError(what, where="text scorer", hint=hint)
        hint = nearest(plain, TEXT_SCORERS, listed_by="diffpref scorers list")
        raise UsageError(f"'{plain}' is not a text scorer", where="text scorer", hint=hint)
    number = precision(dtype, where=f"scorer {name}")
    card = TEXT_SCORERS[plain]
    module, _, function = card.factory.partition(":")
    factory: Factory = getattr(import_module(module), function)
    options = LoadOptions(
        variant=card.variant(variant),
        weights=weights,
        weights_dir=None if weights_dir is None else Path(weights_dir).expanduser(),
        device=torch.device(device),
        dtype=number,
        allow_download=allow_download,
        published=published,
    )
    return LoadedTextScorer(factory(options))
