"""Trains a noisy reward: Bradley-Terry on votes, pairs noised to one t, the best step kept."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from diffpref.draws import permutation
from diffpref.errors import DataError
from diffpref.rewards.heads.loss import pair_loss
from diffpref.rewards.heads.settings import FitSettings
from diffpref.rewards.heads.temperature import best_scale
from diffpref.rewards.noisy.head import StepHead, start_head
from diffpref.rewards.noisy.pairs import NoisyPairs
from diffpref.types import PerRow

Progress = Callable[[int, int | None, str], None]
Look = Mapping[str, int | float]
MOST_SEEN = 4096
"""Training pairs that a look measures."""

RIDGED = ("W", "v")


@dataclass(frozen=True, kw_only=True)
class FittedNoisy:
    """A head, the step it was best at (0 is the start), and what training saw on the way."""

    head: StepHead
    best_step: int
    history: tuple[Look, ...]


def fit_noisy(
    train: NoisyPairs,
    validation: NoisyPairs,
    settings: FitSettings,
    *,
    length: int,
    hidden: int = 0,
    progress: Progress | None = None,
) -> FittedNoisy:
    """Train a head and calibrate its log odds.

    Args:
        train: pairs; several draws of a vote count as one vote in the ridge.
        validation: pairs of other prompts, for beta, early stopping and calibration; may be empty,
            then the last step is kept as it is.
        settings: how to train; `groups`, `width` and `spread` belong to other heads.
        length: T.
        hidden: width of the bent part of the head.
        progress: told after every look.

    Raises:
        DataError: there are no training pairs.
    """
    if not len(train):
        hint = "give more votes; pairs whose users are all held out, and ties, are not learned from"
        raise DataError("no pairs are left to train on", where="train-reward", hint=hint)
    unseen = validation if len(validation) else train
    has_own = bool((train.own != 0).any())
    base = best_scale(unseen.own_gap(), unseen.share, unseen.weight) if has_own else 0.0
    head = start_head(train.features, base=base, length=length, hidden=hidden, seed=settings.seed)
    learned = {name: value.requires_grad_() for name, value in head.learned.items()}
    head = replace(head, learned=learned)
    optimizer = torch.optim.Adam(list(learned.values()), lr=settings.lr)
    slower = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.steps)
    votes = len(train.row.unique())
    sample = train.rows(permutation(settings.seed, -1, len(train))[:MOST_SEEN])
    history: list[Look] = []
    best, best_step = _copy(head), 0
    lowest = _seen(head, validation, "validation").get("validation_loss", float("inf"))
    for step, rows in enumerate(_batches(len(train), settings), start=1):
        optimizer.zero_grad()
        torch.autograd.backward(_objective(head, train.rows(rows), settings, votes))
        optimizer.step()
        slower.step()
        if step % settings.every and step < settings.steps:
            continue
        seen = {**_seen(head, sample, "train"), **_seen(head, validation, "validation")}
        history.append({"step": step, **seen})
        found = seen.get("validation_loss", -float(step))
        if found < lowest:
            best, lowest, best_step = _copy(head), found, step
        if progress is not None:
            progress(step, settings.steps, f"loss {seen['train_loss']:.3f}")
    return FittedNoisy(
        head=_calibrated(best, validation), best_step=best_step, history=tuple(history)
    )


def _batches(count: int, settings: FitSettings) -> Iterator[Int[Tensor, " b"]]:
    """Yield the rows of every step: epochs in shuffled order, cut into batches."""
    size, step, epoch = min(settings.batch, count), 0, 0
    while step < settings.steps:
        order = permutation(settings.seed, epoch, count)
        for start in range(0, count - size + 1, size):
            if step < settings.steps:
                yield order[start : start + size]
                step += 1
        epoch += 1


def _objective(
    head: StepHead, pairs: NoisyPairs, settings: FitSettings, votes: int
) -> Float[Tensor, ""]:
    r"""Return mean loss + ridge ( || W ||^2 + || v ||^2 ) / 2 votes."""
    loss = pair_loss(
        pairs.log_odds(head), pairs.share, margin=settings.margin, smoothing=settings.smoothing
    )
    size = torch.stack([head.learned[name].square().sum() for name in RIDGED]).sum()
    mean = (pairs.weight * loss).sum() / pairs.weight.sum()
    return mean + settings.ridge * size / (2 * votes)


@torch.no_grad()
def _seen(head: StepHead, pairs: NoisyPairs, what: str) -> dict[str, float]:
    """Return plain loss and accuracy, without margin and smoothing; ties count one half."""
    if not len(pairs):
        return {}
    logit = pairs.log_odds(head)
    loss = pair_loss(logit, pairs.share).mean()
    return {f"{what}_loss": float(loss), f"{what}_accuracy": float(hit(logit, pairs).mean())}


def hit(logit: PerRow, pairs: NoisyPairs) -> PerRow:
    """Return 1, 1/2 or 0 per pair: whether the vote was foreseen; ties count one half."""
    right = ((logit > 0) == (pairs.share > 0.5)).float()
    return torch.where((logit == 0) | (pairs.share == 0.5), torch.full_like(right, 0.5), right)


@torch.no_grad()
def _calibrated(head: StepHead, validation: NoisyPairs) -> StepHead:
    if not len(validation):
        return head
    logit = validation.log_odds(head)
    if not bool((logit != 0).any()):
        return head
    return head.scaled(best_scale(logit, validation.share, validation.weight))


def _copy(head: StepHead) -> StepHead:
    kept = {name: value.detach().clone() for name, value in head.learned.items()}
    return replace(head, learned=kept)
