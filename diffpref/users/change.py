"""Makes and changes profiles: fit, add, forget, mix."""

from collections.abc import Sequence
from dataclasses import replace

from diffpref.errors import DataError, UsageError, nearest
from diffpref.users.evidence import Evidence
from diffpref.users.left_out import LeftOut, left_out
from diffpref.users.posterior import Belief, posterior, stored
from diffpref.users.prior import Prior
from diffpref.users.profile import EncoderName, UserProfile, now
from diffpref.users.table import table_belief
from diffpref.users.words import describe, mixed

SHORTEST = 6
"""Hexadecimal digits of an id that are enough to name a vote."""


def fit_profile(
    prior: Prior,
    votes: Evidence,
    *,
    encoder: EncoderName = "bt",
    keep: bool = False,
    sources: Sequence[str] = ("pairs",),
) -> UserProfile:
    """Return the profile of one person's votes.

    Args:
        prior: the population.
        votes: of one person.
        encoder: bt, or table where the population has rows.
        keep: keep the votes' numbers, so that `add` and `forget` are exact.
        sources: what the votes were: pairs, likes.

    Raises:
        UsageError: the population has no table.
    """
    if encoder == "table" and not len(prior.rows):
        hint = "use --encoder bt, or learn the population again"
        raise UsageError(f"{prior.name} has no table of people", where="--encoder", hint=hint)
    return UserProfile(
        prior=prior,
        encoder=encoder,
        belief=_belief(prior, encoder, votes),
        pairs=len(votes),
        effective=votes.strength,
        evidence=votes if keep else None,
        left_out=_judged(prior, encoder, votes),
        sources=tuple(sources),
        words=describe(votes.seen()),
        created=now(),
    )


def add(
    profile: UserProfile, votes: Evidence, *, sources: Sequence[str] = ("pairs",)
) -> UserProfile:
    """Return a profile that has also seen these votes.

    With kept statistics it is exactly the profile of all votes, and a vote it knows already counts
    once. Otherwise the belief is the prior of the new votes (a Laplace update: nearly the same,
    `exact` becomes False), and a vote it has seen before counts twice.

    Args:
        profile: before.
        votes: more of the same person.
        sources: what the votes were.

    Raises:
        UsageError: a table profile without kept statistics.
    """
    sources = _joined(profile.sources, sources)
    if profile.evidence is not None:
        whole = profile.evidence.union(votes)
        found = fit_profile(
            profile.prior, whole, encoder=profile.encoder, keep=True, sources=sources
        )
        return replace(found, created=profile.created)
    if profile.encoder == "table":
        hint = "fit it again from all votes with --keep-statistics"
        raise UsageError("a table profile cannot be added to", where="profile add", hint=hint)
    start = profile.belief
    return replace(
        profile,
        belief=stored(posterior(start, votes.gaps())),
        pairs=profile.pairs + len(votes),
        effective=profile.effective + votes.strength,
        exact=not len(votes) and profile.exact,
        left_out=profile.left_out.plus(left_out(start, profile.prior.belief, votes)),
        sources=sources,
        words=describe(votes.seen(), profile.words),
    )


def forget(profile: UserProfile, ids: Sequence[str]) -> UserProfile:
    """Return the profile that never saw these votes; nothing of them is left.

    Args:
        profile: with kept statistics.
        ids: of votes, as `profile show` lists them; their first digits are enough.

    Raises:
        UsageError: no statistics are kept, or an id is not one vote's.
    """
    if profile.evidence is None:
        hint = "fit it again without those votes; with --keep-statistics votes can be forgotten"
        raise UsageError("keeps no statistics to forget from", where="profile forget", hint=hint)
    gone = {_one(profile.evidence, name) for name in ids}
    found = fit_profile(
        profile.prior,
        profile.evidence.without(gone),
        encoder=profile.encoder,
        keep=True,
        sources=profile.sources,
    )
    return replace(found, created=profile.created)


def mix(profiles: Sequence[UserProfile], weights: Sequence[float]) -> UserProfile:
    """Return somebody between several people.

    Mean and covariance are the weighted means of theirs, so the embedding's first half is too; it
    is as uncertain as they are on average. Nothing can be forgotten from a mixture.

    Args:
        profiles: of one population.
        weights: one each, 0 or more; only their proportions matter.

    Raises:
        UsageError: the numbers do not match, or are negative, or all 0.
        DataError: the profiles are of different populations.
    """
    shares = _shares(profiles, weights)
    prior = profiles[0].prior
    if any(each.prior_sha256 != prior.sha256 for each in profiles):
        hint = "fit them again with one --prior"
        raise DataError("profiles of different populations", where="profile mix", hint=hint)
    pairs = list(zip(shares, profiles, strict=True))
    belief = Belief(
        mean=sum((share * each.belief.mean for share, each in pairs), start=0 * prior.belief.mean),
        cov=sum((share * each.belief.cov for share, each in pairs), start=0 * prior.belief.cov),
    )
    spoken = [(share, each.words) for share, each in pairs if each.words is not None]
    return UserProfile(
        prior=prior,
        encoder=profiles[0].encoder,
        belief=stored(belief),
        pairs=sum(each.pairs for each in profiles),
        effective=sum(share * each.effective for share, each in pairs),
        exact=False,
        sources=("mix",),
        words=mixed(spoken) if len(spoken) == len(pairs) else None,
        created=now(),
    )


def _joined(*parts: Sequence[str]) -> tuple[str, ...]:
    """Return every word once, in the order of its first use."""
    return tuple(dict.fromkeys(word for part in parts for word in part))


def _belief(prior: Prior, encoder: EncoderName, votes: Evidence) -> Belief:
    if encoder == "table":
        return stored(table_belief(prior, votes.gaps()))
    return stored(posterior(prior.belief, votes.gaps()) if len(votes) else prior.belief)


def _judged(prior: Prior, encoder: EncoderName, votes: Evidence) -> LeftOut:
    start = prior.belief
    if encoder == "bt":
        return left_out(start, start, votes)
    return left_out(start, start, votes, lambda others: _belief(prior, encoder, others))


def _one(votes: Evidence, name: str) -> str:
    found = [each for each in votes.ids if each.startswith(name)]
    if len(found) == 1 and len(name) >= SHORTEST:
        return found[0]
    what = f"'{name}' is the id of {len(found)} votes" if found else f"there is no vote '{name}'"
    if found and len(found) == 1:
        what = f"'{name}' is too short"
    hint = f"`profile show --votes` lists them; {nearest(name, votes.ids)[:200]}"
    raise UsageError(what, where="profile forget", hint=hint)


def _shares(profiles: Sequence[UserProfile], weights: Sequence[float]) -> list[float]:
    if not profiles or len(profiles) != len(weights):
        what, hint = f"{len(weights)} weights for {len(profiles)} profiles", "give one each"
        raise UsageError(what, where="--weights", hint=hint)
    total = sum(weights)
    if min(weights) < 0 or not 0 < total < float("inf"):
        hint = "for example --weights 0.7,0.3"
        raise UsageError("must be 0 or more, not all 0", where="--weights", hint=hint)
    return [each / total for each in weights]
