"""Held-out people as an exam: few of their votes are seen, the others are to be foreseen."""

from dataclasses import dataclass
from hashlib import blake2b

import torch
from jaxtyping import Float
from torch import Tensor

from diffpref.draws import generator
from diffpref.rewards.heads.loss import pair_loss
from diffpref.rewards.heads.pairs import Pairs
from diffpref.users.features import Whitening
from diffpref.users.learn import Spread, padded
from diffpref.users.posterior import Belief, Gaps, log_odds, posterior

SHOTS = (0, 1, 4, 16)
DRAWS = 2
MOST = 400
"""People examined, and looked at while choosing; the population is then learned from all."""


@dataclass(frozen=True, kw_only=True)
class Exam:
    """Votes of held-out people: those seen, by the number of shots, and those to foresee."""

    support: dict[int, tuple[Gaps, ...]]
    query: tuple[Gaps, ...]
    every: Gaps


def make_exam(held: Pairs, whitening: Whitening) -> Exam:
    """Return the held-out votes, half of everyone's prompts to see and half to foresee."""
    even = torch.tensor([share_of(text, "half") < 0.5 for text in held.texts])[held.prompt]
    support: dict[int, list[Gaps]] = {count: [] for count in SHOTS}
    query: list[Gaps] = []
    for name in held.voters()[:MOST]:
        mine = held.person == held.people.index(name)
        seen, asked = (gaps_of(held.rows(mine & part), whitening) for part in (even, ~even))
        if not len(asked.share):
            continue
        for draw in range(DRAWS):
            order = torch.randperm(len(seen.share), generator=generator(0, draw, f"prior/{name}"))
            query.append(asked)
            for count in SHOTS:
                support[count].append(_rows(seen, order[:count]))
    return Exam(
        support={count: tuple(each) for count, each in support.items()},
        query=tuple(query),
        every=gaps_of(held, whitening),
    )


def examined(spread: Spread, exam: Exam) -> float:
    """Return the mean loss of held-out votes over SHOTS."""
    start = spread.belief()
    losses = []
    for seen in exam.support.values():
        if max(len(each.share) for each in seen):
            after = posterior(start, padded(seen))
        else:
            many = len(seen)
            after = Belief(mean=start.mean.expand(many, -1), cov=start.cov.expand(many, -1, -1))
        losses += [
            _loss(Belief(mean=mean, cov=cov), asked)
            for mean, cov, asked in zip(after.mean, after.cov, exam.query, strict=True)
        ]
    return float(torch.stack(losses).mean())


def _loss(belief: Belief, asked: Gaps) -> Tensor:
    return pair_loss(log_odds(belief, asked.gap), asked.share.double()).mean()


def gaps_of(pairs: Pairs, whitening: Whitening) -> Gaps:
    first, second = pairs.sides()
    gap: Float[Tensor, "n p"] = whitening(first) - whitening(second)
    return Gaps(gap=gap, share=pairs.share, weight=pairs.weight)


def _rows(votes: Gaps, index: Tensor) -> Gaps:
    return Gaps(gap=votes.gap[index], share=votes.share[index], weight=votes.weight[index])


def share_of(name: str, what: str) -> float:
    digest = blake2b(f"diffpref-prior/{what}/{name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64
