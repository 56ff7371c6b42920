"""Trains a head: everyone's shared numbers and each person's weights, on embedded votes."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from diffpref.draws import permutation
from diffpref.errors import DataError
from diffpref.rewards.heads.head import EmbedderRef, Head
from diffpref.rewards.heads.loss import pair_loss
from diffpref.rewards.heads.pairs import Pairs
from diffpref.rewards.heads.settings import FitSettings
from diffpref.rewards.heads.start import calibrated, precision_of, start_head

Progress = Callable[[int, int | None, str], None]
Look = Mapping[str, int | float]
MOST_SEEN = 4096
"""Training pairs that a look measures."""


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """A head, the step it was best at, and what training saw on the way to the last step."""

    head: Head
    best_step: int
    history: tuple[Look, ...]


def fit_head(
    name: str,
    train: Pairs,
    validation: Pairs,
    settings: FitSettings,
    *,
    embedder: EmbedderRef,
    progress: Progress | None = None,
) -> Fitted:
    """Train a head of one kind and calibrate its probabilities.

    Args:
        name: of HEADS.
        train: votes; its voters become the head's people.
        validation: votes on other prompts, for early stopping and the temperature; may be empty,
            then the last step is kept and the temperature stays 1.
        settings: how to train.
        embedder: whose embeddings these are.
        progress: told after every look.

    Raises:
        DataError: there are no training pairs.
    """
    if not len(train):
        hint = "give more votes; pairs whose users are all held out, and ties, are not learned from"
        raise DataError("no pairs are left to train on", where="train-reward", hint=hint)
    head = start_head(name, train, validation if len(validation) else train, settings, embedder)
    trained = [value for value in (*head.shared.values(), head.offsets) if value.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=settings.lr)
    slower = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.steps)
    sample = train.rows(torch.arange(min(len(train), MOST_SEEN)))
    history: list[Look] = []
    best, lowest, best_step = head, float("inf"), 0
    for step, rows in enumerate(_batches(len(train), settings), start=1):
        optimizer.zero_grad()
        torch.autograd.backward(_objective(head, train.rows(rows), settings, len(train)))
        optimizer.step()
        slower.step()
        if step % settings.every and step < settings.steps:
            continue
        history.append({"step": step, **_seen(head, sample, "train"), **_seen(head, validation)})
        found = history[-1].get("validation_loss", -step)
        if found < lowest:
            best, lowest, best_step = _copy(head), found, step
        if progress is not None:
            progress(step, settings.steps, f"loss {history[-1]['train_loss']:.3f}")
    head = calibrated(replace(best, precision=precision_of(best)), validation)
    return Fitted(head=head, best_step=best_step, history=tuple(history))


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


def _objective(head: Head, rows: Pairs, settings: FitSettings, count: int) -> Float[Tensor, ""]:
    r"""Return mean loss + ( ridge || theta ||^2 + sum_u || w_u ||^2 / spread^2 ) / 2 n."""
    logit = head.log_odds(*rows.sides(), head.weights_of(rows))
    loss = pair_loss(logit, rows.share, margin=settings.margin, smoothing=settings.smoothing)
    prior = (head.offsets / settings.spread).square().sum()
    for name, value in head.shared.items():
        if name != "base" and name not in head.kind.free:
            each = value.square().sum()
            of = head.shape.groups if name in head.kind.averaged else 1
            prior = prior + settings.ridge / of * each
    return (rows.weight * loss).sum() / rows.weight.sum() + prior / (2 * count)


def _seen(head: Head, pairs: Pairs, what: str = "validation") -> dict[str, float]:
    """Return plain loss and accuracy, without margin and smoothing."""
    if not len(pairs):
        return {}
    logit = head.judge(pairs)
    right = (logit > 0) == (pairs.share > 0.5)
    scored = torch.where((logit == 0) | (pairs.share == 0.5), 0.5, right.float())
    loss = pair_loss(logit, pairs.share).mean()
    return {f"{what}_loss": float(loss), f"{what}_accuracy": float(scored.mean())}


def _copy(head: Head) -> Head:
    shared = {key: value.detach().clone() for key, value in head.shared.items()}
    return replace(head, shared=shared, offsets=head.offsets.detach().clone())
