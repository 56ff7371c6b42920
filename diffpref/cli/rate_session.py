"""Puts a rating session together: the answers, the pairs, the live profile, the last words."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from diffpref.cli.profile_options import embedder_of
from diffpref.cli.rate_source import Asked
from diffpref.errors import UsageError

if TYPE_CHECKING:
    from diffpref.rate.book import Book
    from diffpref.rate.entries import Entry
    from diffpref.rate.session import Session
    from diffpref.rate.study import Study
    from diffpref.rewards import LoadedScorer
    from diffpref.users.prior import Prior
    from diffpref.users.profile import UserProfile

ME = "me"


@dataclass(frozen=True, kw_only=True)
class Live:
    """What is learned while rating; `goal` 0 asks every pair."""

    prior: str
    cache: Path
    weights_dir: Path | None
    device: str
    file: Path | None
    off: bool
    goal: int

    def path(self, book: "Book") -> Path | None:
        """Return where the profile goes; None if nothing is learned.

        Raises:
            UsageError: somebody else's profile is there.
        """
        if self.off:
            return None
        path = self.file or book.folder / f"{_file_name(book.user)}.profile"
        if path.exists() and not book.mine():
            hint = "name another file with --profile"
            what = "exists already, and these ratings are new: it holds other votes"
            raise UsageError(what, where=str(path), hint=hint)
        return path


def rating(asked: Asked, live: Live, book: "Book") -> "Session":
    """Return a session that asks what teaches most, or by chance where nothing is learned."""
    from diffpref.rate.plan import Plan
    from diffpref.rate.pool import Pool
    from diffpref.rate.rerank import best_of
    from diffpref.rate.session import Session
    from diffpref.rate.summary import summary
    from diffpref.rate.taste import Taste
    from diffpref.rewards.heads.embeddings import EmbeddingStore

    path = live.path(book)

    def end(entries: "Sequence[Entry]") -> dict[str, Any]:
        return summary(entries, book.folder, path)

    lock, opened = Lock(), asked.opened()
    plan = Plan(goal=live.goal or None, seed=asked.seed, result=end, learned=_saver(path))
    if path is None:
        pool = Pool()
        asked.fill(pool, book.folder, opened, lock)
        return Session(book, pool, plan)
    population, embedder = _population(live, book)
    taste = Taste(population, EmbeddingStore(live.cache, embedder))
    pool = Pool(check=taste.see)
    asked.fill(pool, book.folder, opened, lock)
    show = None if opened is None else best_of(opened, embedder, asked.settings, lock=lock)
    return Session(book, pool, plan, taste=taste, show=show)


def studying(study: "Study", asked: Asked, book: "Book") -> "Session":
    """Return a session that asks the pairs of a study in their order and learns nothing."""
    from diffpref.rate.plan import Plan
    from diffpref.rate.pool import Pool
    from diffpref.rate.session import Session

    pool = Pool()
    pool.grow(study.pairs(book.folder, lock=Lock(), halted=pool.halted))
    many = len(study.prompts) * len(study.seeds)
    plan = Plan(
        mode="study",
        seed=asked.seed,
        total=lambda: many - len(study.same),
        result=lambda entries: study.verdict(entries).plain(),
    )
    return Session(book, pool, plan)


def told_again(study: "Study", book: "Book") -> dict[str, Any]:
    """Return the verdict of a study that is over."""
    for _ in study.pairs(book.folder, lock=Lock(), halted=lambda: False):
        pass
    return study.verdict(book.mine()).plain()


def unfinished(session: "Session") -> dict[str, Any]:
    """Return how far a study has come, and nothing that could tell its sides apart."""
    mine = session.book.mine()
    votes = [each for each in mine if not each.skipped]
    return {
        "votes": len(votes),
        "ties": sum(each.scores == (0.5, 0.5) for each in votes),
        "skipped": len(mine) - len(votes),
        "finished": False,
        "next": ["the same line goes on; 'Finish' on the page shows which model is which"],
    }


def _population(live: Live, book: "Book") -> "tuple[Prior, LoadedScorer]":
    from diffpref.users.prior_file import find_prior

    population = find_prior(live.prior, book.folder)
    return population, embedder_of(population, live.weights_dir, live.device)


def _saver(path: Path | None) -> "Callable[[UserProfile], None]":
    def save(profile: "UserProfile") -> None:
        from diffpref.users.profile_file import save_profile

        if path is not None and (profile.pairs or path.exists()):
            save_profile(path, profile)

    return save


def _file_name(user: str | None) -> str:
    """Return a name that any file system takes, different for different people."""
    if user is None:
        return ME
    plain = re.sub(r"[^A-Za-z0-9_-]", "-", user)[:40]
    if plain == user:
        return plain
    return f"{plain}-{blake2b(user.encode(), digest_size=3).hexdigest()}"
