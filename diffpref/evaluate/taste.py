r"""Which taste a judge shows: its log odds on pairs, explained by the exact attributes.

    t_u = argmin_t  sum_i ( u_i - t^T (a(x_i) - a(y_i)) )^2       over pairs i, one person at a time

Only directions are compared, since a judge may be more or less sure of itself than the person.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import torch
from jaxtyping import Float
from torch import Tensor

from diffpref.evaluate.known import Truth
from diffpref.rewards.heads.pairs import Pairs
from diffpref.types import PerRow


@dataclass(frozen=True, kw_only=True)
class Recovered:
    """Tastes of people, true and shown, one row each, without the weight of prompt fidelity.

    `cosine` is the mean over people of the cosine between the two; `personal` is the correlation,
    over people and attributes, of what distinguishes people: their taste minus everyone's mean.
    Shown tastes are brought to the true ones' length.
    """

    true: Float[Tensor, "u a"]
    shown: Float[Tensor, "u a"]
    cosine: float
    personal: float


def census(pairs: Pairs, people: Sequence[str]) -> Pairs:
    """Return every two pictures of each prompt, asked of every person; shares are 1/2."""
    pictures: dict[int, set[int]] = {}
    for prompt, one, two in zip(
        pairs.prompt.tolist(), pairs.first.tolist(), pairs.second.tolist(), strict=True
    ):
        pictures.setdefault(prompt, set()).update((one, two))
    rows = [
        (prompt, one, two)
        for prompt, seen in sorted(pictures.items())
        for one, two in combinations(sorted(seen), 2)
    ]
    index = torch.tensor(rows, dtype=torch.long).reshape(-1, 3).repeat(len(people), 1)
    who = torch.tensor([pairs.people.index(name) for name in people], dtype=torch.long)
    return replace(
        pairs,
        prompt=index[:, 0],
        first=index[:, 1],
        second=index[:, 2],
        person=who.repeat_interleave(len(rows)),
        share=torch.full((len(index),), 0.5),
        weight=torch.ones(len(index)),
    )


def recovered(judge: Callable[[Pairs], PerRow], asked: Pairs, truth: Truth) -> Recovered:
    """Return the tastes a judge shows on `asked`, beside the true ones."""
    logit, gaps = judge(asked).double(), truth.gaps(asked)
    names = asked.voters()
    rows = [asked.person == asked.people.index(name) for name in names]
    shown = torch.stack([_explain(gaps[row], logit[row]) for row in rows])[:, :-1]
    true = torch.stack([truth.tastes[name] for name in names])[:, :-1]
    shown = shown * true.norm() / shown.norm().clamp(min=1e-12)
    personal = torch.stack([(each - each.mean(dim=0)).flatten() for each in (true, shown)])
    spread = float(personal[1].std())
    return Recovered(
        true=true,
        shown=shown,
        cosine=float(torch.cosine_similarity(true, shown, dim=1).mean()),
        # A judge with one taste for all shows rounding errors, whose correlation means nothing.
        personal=float(torch.corrcoef(personal)[0, 1]) if spread > 1e-6 else 0.0,
    )


def _explain(gaps: Float[Tensor, "n a"], logit: PerRow) -> Float[Tensor, " a"]:
    tiny = 1e-9 * torch.eye(gaps.shape[1], dtype=gaps.dtype)
    return torch.linalg.solve(gaps.T @ gaps + tiny, gaps.T @ logit)
