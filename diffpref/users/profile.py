"""A person's taste: what is believed of it, how much was learned, and what it may still forget."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from diffpref.draws import generator
from diffpref.users.evidence import Evidence
from diffpref.users.left_out import LeftOut, verdict
from diffpref.users.posterior import Belief, log_odds
from diffpref.users.prior import Prior, digest
from diffpref.users.words import Words

if TYPE_CHECKING:
    from diffpref.rewards.scorer import LoadedScorer
    from diffpref.users.api import Comparisons, Using

EncoderName = Literal["bt", "table"]
REFERENCE = 512
"""Pairs over which the predictive entropy is a mean."""


@dataclass(frozen=True, kw_only=True)
class UserProfile:
    """One person, nameless.

    Attributes:
        prior: the population they come from, whose features they are described in.
        encoder: bt or table.
        belief: about their taste; float32 numbers kept as float64, as the file holds them.
        pairs, effective: votes learned from, and what they are worth (ties nothing, likes against
            dislikes the smaller number).
        evidence: the votes themselves; None unless statistics are kept.
        exact: whether the belief is the one fit to all votes at once.
        left_out: how votes left out in turn were foreseen.
        sources: pairs, likes, mix: what it was made from.
        words: liked and disliked attributes.
        created: UTC time, to the second.
    """

    prior: Prior
    encoder: EncoderName = "bt"
    belief: Belief
    pairs: int = 0
    effective: float = 0.0
    evidence: Evidence | None = None
    exact: bool = True
    left_out: LeftOut = field(default_factory=LeftOut)
    sources: tuple[str, ...] = ()
    words: Words | None = None
    created: str = ""

    @property
    def embedding(self) -> Float[Tensor, " e"]:
        """Who this is, for a generator: float32, `prior.size` numbers; 0 without votes."""
        return self.prior.embedding(self.belief)

    @property
    def encoder_id(self) -> str:
        return f"{self.encoder}/{self.prior.embedder.scorer}"

    @property
    def fingerprint(self) -> str:
        """What the embedding means: encoder and population, as a run that was told it says."""
        return told_by(self.encoder, self.prior)

    @property
    def encoder_sha256(self) -> str:
        return self.prior.encoder_sha256

    @property
    def prior_id(self) -> str:
        return self.prior.name

    @property
    def prior_sha256(self) -> str:
        return self.prior.sha256

    @property
    def sha256(self) -> str:
        """Hash of the taste: of two profiles that judge alike it is the same."""
        return digest(self.prior_sha256, self.belief.mean, self.belief.cov)

    @property
    def verdict(self) -> str:
        return verdict(self.pairs, self.left_out)

    @classmethod
    def fit(
        cls,
        comparisons: "Comparisons",
        *,
        prior: Prior | str = "bt-world",
        encoder: EncoderName = "bt",
        keep_statistics: bool = True,
        using: "Using | None" = None,
    ) -> "UserProfile":
        """Return the profile of one person's comparisons; see `diffpref.users.api.fit`."""
        from diffpref.users import api

        return api.fit(
            comparisons, prior=prior, encoder=encoder, keep_statistics=keep_statistics, using=using
        )

    @classmethod
    def mix(cls, shares: "Sequence[tuple[UserProfile, float]]") -> "UserProfile":
        """Return somebody between several people: [(a, 0.7), (b, 0.3)]."""
        from diffpref.users.change import mix

        return mix([each for each, _ in shares], [weight for _, weight in shares])

    def update(self, comparisons: "Comparisons", *, using: "Using | None" = None) -> "UserProfile":
        """Return a profile that has also seen these; exact where statistics are kept."""
        from diffpref.users import api

        return api.update(self, comparisons, using=using)

    def forget(self, ids: Sequence[str]) -> "UserProfile":
        """Return the profile that never saw these votes; needs kept statistics."""
        from diffpref.users.change import forget

        return forget(self, ids)

    def reward(self, embedder: "LoadedScorer | None" = None) -> "LoadedScorer":
        """Return the profile as a scorer, differentiable to the pixels."""
        from diffpref.users import api

        return api.reward(self, embedder)

    def ask(
        self,
        candidates: Sequence[Path],
        n: int = 4,
        *,
        prompts: Mapping[Path, str] | None = None,
        using: "Using | None" = None,
    ) -> list[tuple[Path, Path]]:
        """Return the pairs of pictures whose answers would teach most, best first."""
        from diffpref.users import api

        return api.ask(self, candidates, n, prompts=prompts, using=using)

    def log_odds(self, gap: Float[Tensor, "n p"]) -> Float[Tensor, " n"]:
        """Return the log odds that the first of each pair is preferred, uncertainty included."""
        return log_odds(self.belief, gap)

    def summary(self) -> dict[str, Any]:
        """Return what `profile show --json` prints, all of it plain."""
        return {
            "encoder": {"id": self.encoder_id, "sha256": self.encoder_sha256},
            "prior": {"id": self.prior_id, "sha256": self.prior_sha256},
            "pairs": self.pairs,
            "effective_pairs": self.effective,
            "statistics_kept": self.evidence is not None,
            "exact": self.exact,
            "sources": list(self.sources),
            "left_out": {
                "n": self.left_out.n,
                "accuracy": self.left_out.accuracy,
                "population_accuracy": self.left_out.population,
            },
            "entropy_bits": {"own": entropy(self.belief), "population": entropy(self.prior.belief)},
            "embedding": [round(each, 6) for each in self.embedding.tolist()],
            "words": None if self.words is None else self.words.plain(),
            "created": self.created,
            "verdict": self.verdict,
        }


def told_by(encoder: EncoderName, prior: Prior) -> str:
    """Return what makes an embedding: encoder, scorer, and the population's hash."""
    return f"{encoder}/{prior.embedder.scorer}/{prior.sha256[:16]}"


def entropy(belief: Belief) -> float:
    """Return how undecided a belief is, in bits: 1 is a coin flip, 0 is certainty.

    The mean over REFERENCE pairs like those the population voted on (unit variance in every
    direction), always the same ones.
    """
    rng = generator(0, 0, "users/entropy")
    gap = torch.randn(REFERENCE, len(belief.mean), generator=rng, dtype=torch.float64)
    chance = log_odds(belief, gap).sigmoid().clamp(1e-12, 1 - 1e-12)
    bits = -(chance * chance.log2() + (1 - chance) * (1 - chance).log2())
    return float(bits.mean())


def null_profile(prior: Prior, encoder: EncoderName = "bt") -> UserProfile:
    """Return the profile of nobody in particular: the population itself."""
    return UserProfile(prior=prior, encoder=encoder, belief=prior.belief, created=now())


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
