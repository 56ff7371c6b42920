"""The bundled votes as every feature set shows them."""

import time
from dataclasses import dataclass
from pathlib import Path

from diffpref.data.source_parts import parts_of
from diffpref.data.votes import read_votes
from diffpref.evaluate.known import Truth, read_truth
from diffpref.rewards import LoadOptions, load_scorer
from diffpref.rewards.heads.embeddings import EmbeddingStore
from diffpref.rewards.heads.extras import load_extras, open_extras
from diffpref.rewards.heads.fit import Fitted, fit_head
from diffpref.rewards.heads.head import EmbedderRef
from diffpref.rewards.heads.pairs import Pairs
from diffpref.rewards.heads.settings import FitSettings

PIXELS = (
    "brightness",
    "warmth",
    "colourfulness",
    "contrast",
    "edge-energy",
    "coverage",
    "symmetry",
    "centring",
)
SETS: dict[str, tuple[str, ...]] = {
    "embedding": (),
    "with attributes": PIXELS,
    "with attributes and fidelity": (*PIXELS, "world-fidelity"),
}
"""What is read beside the embedding of world-reward."""


@dataclass(frozen=True, kw_only=True)
class World:
    """The bundled votes as one feature set shows them, and what is true of them."""

    name: str
    pairs: Pairs
    parts: tuple[str, ...]
    truth: Truth
    ref: EmbedderRef

    def fit(self, name: str, train: Pairs, validation: Pairs, seed: int) -> tuple[Fitted, float]:
        """Return a head, and how long its training took."""
        began = time.monotonic()
        settings = FitSettings(seed=seed)
        fitted = fit_head(name, train, validation, settings, embedder=self.ref)
        return fitted, round(time.monotonic() - began, 1)


def open_worlds(work: Path) -> dict[str, World]:
    """Return the bundled votes with every feature set; each picture is read once."""
    sources, scorer = parts_of("builtin:pairs"), load_scorer("world-reward")
    worlds: dict[str, World] = {}
    truth: Truth | None = None
    for name, features in SETS.items():
        store = EmbeddingStore(work / "cache", scorer)
        extras = open_extras(load_extras(features, LoadOptions()), store)
        votes = read_votes(sources, store, extras)
        truth = truth or read_truth(sources, votes.pairs)
        ref = EmbedderRef(
            scorer=scorer.info.id,
            fingerprint=store.fingerprint,
            extras=tuple(each.ref for each in extras),
        )
        worlds[name] = World(name=name, pairs=votes.pairs, parts=votes.parts, truth=truth, ref=ref)
    return worlds
