r"""Learns a population from many people's votes and chooses its sizes on people held out.

Every combination of width (directions of the embedding kept), rank r, floor s and believed share
of the spread is judged by how well it foresees the votes of held-out people after few of their
own: the mean loss of a vote over SHOTS, on prompts other than those of the votes it saw.

The mean is a e_own + b m, with e_own the scorer's own score and m what EM found. (a, b) are fitted
to the held-out votes around (0, 1): where the scorer was tuned on the training votes, as the
bundled one was, m believes it too much, and so does the spread.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import groupby, product

import torch

from diffpref.errors import DataError
from diffpref.rewards.heads.head import EmbedderRef
from diffpref.rewards.heads.pairs import Pairs
from diffpref.users.exam import MOST, examined, gaps_of, make_exam, share_of
from diffpref.users.features import Whitening, fit_whitening
from diffpref.users.learn import Spread, learn_spread
from diffpref.users.posterior import Belief, Gaps, posterior
from diffpref.users.prior import Prior, rounded

FEWEST = 4
"""People needed to learn from, and people needed to choose on."""

ROWS = 256
"""Most rows of the table of people."""

Tell = Callable[[int, int | None, str], None]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What is chosen on held-out people; a floor of None is the one EM learns."""

    width: int
    rank: int
    floor: float | None
    believed: float


@dataclass(frozen=True, kw_only=True)
class Search:
    """What to choose among, and how many rounds of EM to run."""

    widths: tuple[int, ...] = (8, 16, 32, 63)
    ranks: tuple[int, ...] = (1, 2, 4, 8, 16)
    floors: tuple[float | None, ...] = (0.01, 0.05, None)
    believed: tuple[float, ...] = (1.0, 0.5)
    rounds: int = 40

    def choices(self) -> Iterator[Choice]:
        """Yield every sensible choice, those that share an EM run together."""
        for width, rank, floor, believed in product(
            self.widths, self.ranks, self.floors, self.believed
        ):
            if rank <= width:
                yield Choice(width=width, rank=rank, floor=floor, believed=believed)


def learn_prior(
    train: Pairs,
    held: Pairs,
    embedder: EmbedderRef,
    *,
    name: str,
    search: Search | None = None,
    progress: Tell | None = None,
) -> Prior:
    """Learn a population.

    Args:
        train: votes to learn from; of at least FEWEST people.
        held: votes of other people, to choose on.
        embedder: whose embeddings these are.
        name: what profiles will call it.
        search: what to choose among.
        progress: told after every choice judged.

    Raises:
        DataError: too few people.
    """
    _enough(train, held)
    asked = search or Search()
    total = len(list(asked.choices()))
    judged: list[tuple[float, Choice]] = []
    for found in _judged(_most(train), held, asked):
        judged.append(found)
        if progress is not None:
            lowest = min(loss for loss, _ in judged)
            progress(len(judged), total, f"loss {lowest:.4f}")
    loss, best = min(judged, key=lambda each: each[0])
    return _finish(train, held, embedder, best, asked, name=name, loss=loss)


def _judged(train: Pairs, held: Pairs, search: Search) -> Iterator[tuple[float, Choice]]:
    """Yield the held-out loss of every choice; those that share an EM run share it."""
    for width, same in groupby(search.choices(), key=lambda each: each.width):
        whitening = fit_whitening(train, width)
        people, exam = _people(train, whitening), make_exam(held, whitening)
        for _, runs in groupby(same, key=lambda each: (each.rank, each.floor)):
            choices = list(runs)
            learned = _learn(people, choices[0], search.rounds)
            for choice in choices:
                spread = recentred(learned, exam.every, choice.believed)
                yield examined(spread, exam), choice


def recentred(spread: Spread, held: Gaps, believed: float = 1.0) -> Spread:
    """Return the spread with its mean refitted to held-out votes and its width believed in part."""
    own = torch.zeros_like(spread.mean)
    own[0] = 1.0
    both = torch.stack([own, spread.mean])
    eye = torch.eye(2, dtype=torch.float64)
    about = Belief(mean=eye[1], cov=eye)
    seen = posterior(about, replace(held, gap=held.gap.double() @ both.T))
    return Spread(
        mean=seen.mean @ both,
        basis=spread.basis,
        strength=spread.strength * believed,
        floor=spread.floor * believed**0.5,
    )


def _finish(
    train: Pairs,
    held: Pairs,
    embedder: EmbedderRef,
    best: Choice,
    search: Search,
    *,
    name: str,
    loss: float,
) -> Prior:
    whitening = fit_whitening(train, best.width)
    people, exam = _people(train, whitening), make_exam(held, whitening)
    spread = rounded(recentred(_learn(people, best, search.rounds), exam.every, best.believed))
    start = spread.belief()
    rows = [posterior(start, each).mean for each in people[:ROWS]]
    alone = replace(spread, strength=spread.strength * 1e-9, floor=1e-3)
    return Prior(
        name=name,
        embedder=embedder,
        whitening=whitening,
        spread=spread,
        rows=torch.stack(rows).float(),
        about={
            "people": len(train.voters()),
            "votes": len(train),
            "held_people": len(held.voters()),
            "held_votes": len(held),
            "chosen": asdict(best),
            "held_loss": round(loss, 5),
            "held_loss_population": round(examined(alone, exam), 5),
        },
    )


def _learn(people: list[Gaps], choice: Choice, rounds: int) -> Spread:
    start = torch.zeros(people[0].gap.shape[-1], dtype=torch.float64)
    return learn_spread(people, rank=choice.rank, start=start, floor=choice.floor, rounds=rounds)


def _people(pairs: Pairs, whitening: Whitening) -> list[Gaps]:
    return [gaps_of(pairs.of(name), whitening) for name in pairs.voters()]


def _most(pairs: Pairs) -> Pairs:
    few = [pairs.people.index(name) for name in pairs.voters()[:MOST]]
    return pairs.rows(torch.isin(pairs.person, torch.tensor(few)))


def _enough(train: Pairs, held: Pairs) -> None:
    people, others = len(train.voters()), len(held.voters())
    if people < FEWEST or others < FEWEST:
        what = f"{people} people to learn from and {others} to choose on; {FEWEST} of each needed"
        hint = "give votes of more people, each row with its `user`"
        raise DataError(what, where="bt-prior", hint=hint)


def split_people(pairs: Pairs, parts: "tuple[str, ...]") -> tuple[Pairs, Pairs]:
    """Return votes to learn from and votes of other people to choose on.

    A source with train, validation and test parts gives its train and its validation part, and
    its test part is not read; otherwise one person in five is held out, by a hash of the name.
    """
    if {"train", "validation"} <= set(parts):
        roles = [torch.tensor([part == role for part in parts]) for role in ("train", "validation")]
        return pairs.rows(roles[0]), pairs.rows(roles[1])
    held = torch.tensor([share_of(name, "person") < 0.2 for name in (*pairs.people, "")])
    known = pairs.person >= 0
    return pairs.rows(known & ~held[pairs.person]), pairs.rows(known & held[pairs.person])
