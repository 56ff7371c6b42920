"""What the methods of `UserProfile` do: votes from wherever they are, to a profile and back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from diffpref.rewards.heads.embeddings import EmbeddingStore
from diffpref.rewards.load import load_scorer
from diffpref.rewards.scorer import LoadedScorer
from diffpref.users.change import add, fit_profile
from diffpref.users.evidence import Evidence
from diffpref.users.prior import Prior
from diffpref.users.prior_file import find_prior
from diffpref.users.profile import EncoderName, UserProfile
from diffpref.users.questions import best_pairs
from diffpref.users.read import Told, read_person
from diffpref.users.reward import check_embedder, profile_scorer

Comparisons = Evidence | str | Path
"""Votes as evidence, or any source of votes: a .jsonl, a folder, builtin:pairs."""


@dataclass(frozen=True, kw_only=True)
class Using:
    """Where votes are read and embeddings are kept.

    Attributes:
        user: whose votes, where several people voted.
        part: of a source in parts.
        cache: the folder of embeddings.
        embedder: the population's scorer; loaded if absent.
    """

    user: str | None = None
    part: str = "train"
    cache: Path = Path("cache")
    embedder: LoadedScorer | None = None


def fit(
    comparisons: Comparisons,
    *,
    prior: Prior | str = "bt-world",
    encoder: EncoderName = "bt",
    keep_statistics: bool = True,
    using: Using | None = None,
) -> UserProfile:
    """Return the profile of one person's comparisons.

    Args:
        comparisons: of one person.
        prior: the population, its name or its file.
        encoder: bt or table.
        keep_statistics: so that `update` and `forget` are exact.
        using: where votes are read.

    Raises:
        UsageError: there is no such population or person.
        DataError: nothing can be used.
    """
    population = prior if isinstance(prior, Prior) else find_prior(prior)
    told = _told(population, comparisons, using or Using())
    return fit_profile(
        population, told.votes, encoder=encoder, keep=keep_statistics, sources=told.sources
    )


def update(
    profile: UserProfile, comparisons: Comparisons, *, using: Using | None = None
) -> UserProfile:
    """Return a profile that has also seen these comparisons; see `add`."""
    told = _told(profile.prior, comparisons, using or Using())
    return add(profile, told.votes, sources=told.sources)


def reward(profile: UserProfile, embedder: LoadedScorer | None = None) -> LoadedScorer:
    """Return the profile as a scorer: for re-ranking, online training and `score`.

    Raises:
        DataError: the embedder has other weights than the population was learned with.
    """
    return profile_scorer(profile, embedder or load_scorer(profile.prior.embedder.scorer))


def ask(
    profile: UserProfile,
    candidates: Sequence[Path],
    n: int = 4,
    *,
    prompts: Mapping[Path, str] | None = None,
    using: Using | None = None,
) -> list[tuple[Path, Path]]:
    """Return the pairs of pictures whose answers would teach most, best first.

    Args:
        profile: what is believed now.
        candidates: picture files.
        n: how many pairs.
        prompts: of the pictures, where known; those of one prompt are paired.
        using: where embeddings are kept.

    Raises:
        DataError: a picture cannot be read.
    """
    store = _store(profile.prior, using or Using())
    found = best_pairs(profile, candidates, prompts or {}, store, n)
    return [(one, two) for one, two, _ in found]


def _told(prior: Prior, comparisons: Comparisons, using: Using) -> Told:
    if isinstance(comparisons, Evidence):
        return Told(votes=comparisons, sources=("pairs",))
    store = _store(prior, using)
    return read_person(prior, str(comparisons), store, user=using.user, split=using.part)


def _store(prior: Prior, using: Using) -> EmbeddingStore:
    embedder = using.embedder or load_scorer(prior.embedder.scorer)
    check_embedder(prior, embedder)
    return EmbeddingStore(using.cache, embedder)
