"""What a head reads of a picture beside its embedder's embedding: other scorers, by name.

NAME            its score of the picture and prompt, one number
NAME@embedding  its image embedding
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from diffpref.errors import DataError, UsageError
from diffpref.rewards.heads.embeddings import EmbeddingStore, fingerprint
from diffpref.rewards.heads.head import EMBEDDING, EmbedderRef, ExtraRef
from diffpref.rewards.inputs import AnyImage
from diffpref.rewards.model import ImageTower, ScoringModel
from diffpref.rewards.options import LoadOptions
from diffpref.rewards.scorer import LoadedScorer


@dataclass(frozen=True, kw_only=True)
class Extra:
    """One further scorer that a head reads."""

    name: str
    scorer: LoadedScorer

    @property
    def embeds(self) -> bool:
        return self.name.endswith(EMBEDDING)

    @property
    def model(self) -> ScoringModel:
        """Return the scorer's model.

        Raises:
            UsageError: it only compares, or has no image embedding and one is asked for.
        """
        model, where = self.scorer.model, f"feature {self.name}"
        if not isinstance(model, ScoringModel):
            hint = "choose a scorer that gives scores"
            raise UsageError(f"{self.scorer.info.id} only compares", where=where, hint=hint)
        if self.embeds and not isinstance(model, ImageTower):
            hint = f"write {self.name.removesuffix(EMBEDDING)} to use its score"
            raise UsageError(f"{self.scorer.info.id} has no embedding", where=where, hint=hint)
        return model

    def read(self, seen: Tensor, prompts: tuple[str, ...]) -> Float[Tensor, "n w"]:
        """Return what it makes of pictures that it sees, with gradient; float32 on the CPU."""
        model = self.model
        if self.embeds and isinstance(model, ImageTower):
            return model.embed_seen(seen).float().cpu()
        return model.judge(seen, prompts).float().cpu()[:, None]


def load_extras(names: Sequence[str], options: LoadOptions) -> tuple[Extra, ...]:
    """Load scorers by the names that `--features` takes.

    Raises:
        UsageError: an unknown scorer, one named twice, or one that cannot be read so.
        DataError: its weights are missing.
    """
    from diffpref.rewards.load import load_scorer

    scorers: dict[str, LoadedScorer] = {}
    for name in dict.fromkeys(name.removesuffix(EMBEDDING) for name in names):
        loaded = load_scorer(name, weights_dir=options.weights_dir)
        scorers[name] = loaded.to(options.device, options.dtype)
    extras = tuple(Extra(name=name, scorer=scorers[name.removesuffix(EMBEDDING)]) for name in names)
    for extra in extras:
        if names.count(extra.name) > 1:
            hint = "name it once"
            raise UsageError(f"{extra.name} is named twice", where="--features", hint=hint)
        _ = extra.model
    return extras


def check_extras(extras: Sequence[Extra], ref: EmbedderRef) -> None:
    """Refuse scorers that are not those a head was trained on.

    Raises:
        DataError: other names, or other weights under the same name.
    """
    hint = "load the scorers with the weights the head was trained on, or train it again"
    if tuple(extra.name for extra in extras) != tuple(each.name for each in ref.extras):
        raise DataError("was trained on other features", where="head", hint=hint)
    for extra, each in zip(extras, ref.extras, strict=True):
        if fingerprint(extra.scorer.info) != each.fingerprint:
            raise DataError(f"was trained on another {each.name}", where="head", hint=hint)


class ExtraStore:
    """What one further scorer makes of pictures, kept in the store of its scorer."""

    def __init__(self, extra: Extra, store: EmbeddingStore) -> None:
        self.extra, self.store = extra, store

    def missing(self, items: Sequence[tuple[bytes, str]]) -> list[tuple[bytes, str]]:
        """Return the pictures with their prompts that are not here yet."""
        if self.extra.embeds:
            wanted = set(self.store.missing([key for key, _ in items]))
            return [item for item in items if item[0] in wanted]
        return self.store.unscored(items)

    def add(self, items: Sequence[tuple[bytes, str, AnyImage]]) -> None:
        """Read pictures; those that are here are left alone."""
        if self.extra.embeds:
            self.store.add_images({key: image for key, _, image in items})
        else:
            self.store.add_scores(items)

    def rows(self, items: Sequence[tuple[bytes, str]]) -> Float[Tensor, "n w"]:
        """Return what is known of pictures that were added.

        Raises:
            DataError: a score is not a number.
        """
        if self.extra.embeds:
            return self.store.images([key for key, _ in items])
        found = self.store.scores(items)
        bad = int((~torch.isfinite(found)).sum())
        if bad:
            hint = "leave the feature out, or those pictures"
            raise DataError(
                f"gave no score for {bad} of {len(found)} pictures",
                where=self.extra.name,
                hint=hint,
            )
        return found

    @property
    def ref(self) -> ExtraRef:
        """Return what a head keeps of it, once something was added."""
        width = self.store.width if self.extra.embeds else 1
        return ExtraRef(name=self.extra.name, width=width, fingerprint=self.store.fingerprint)


def open_extras(
    extras: Sequence[Extra], store: EmbeddingStore, *, batch: int = 64
) -> tuple[ExtraStore, ...]:
    """Open the stores of further scorers beside the embedder's; one scorer has one store.

    Raises:
        DataError: a file is damaged.
    """
    stores = {store.fingerprint: store}
    for extra in extras:
        name = fingerprint(extra.scorer.info)
        if name not in stores:
            stores[name] = EmbeddingStore(store.path.parent, extra.scorer, batch=batch)
    return tuple(ExtraStore(each, stores[fingerprint(each.scorer.info)]) for each in extras)
