"""Before and after training: the scorer's own score to begin with, calibration at the end."""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from diffpref.draws import generator
from diffpref.rewards.heads import HEADS
from diffpref.rewards.heads.head import EmbedderRef, Head
from diffpref.rewards.heads.items import Block, Items, cosine, scales_of
from diffpref.rewards.heads.kind import Shape
from diffpref.rewards.heads.pairs import Pairs
from diffpref.rewards.heads.settings import FitSettings
from diffpref.rewards.heads.temperature import best_scale

MOST = 50_000
"""Pairs whose pictures set the scale of the features."""

FLOOR = 0.01
"""Smallest standard deviation a person's weight is expected to have."""


def start_head(
    name: str, train: Pairs, unseen: Pairs, settings: FitSettings, embedder: EmbedderRef
) -> Head:
    """Return the untrained head: the scorer's own score, its one coefficient fitted on `unseen`.

    The scorer may have been tuned on the very votes of `train`; there it looks better than it is.
    """
    kind = HEADS[name]
    shape = Shape(
        d=train.images.shape[1],
        prompt=train.prompts.shape[1],
        groups=settings.groups,
        width=settings.width,
    )
    blocks = [Block(width=each.width, saturates=not each.embeds) for each in embedder.extras]
    scales = scales_of(_both(*train.rows(torch.arange(min(len(train), MOST))).sides()), blocks)
    first, second = unseen.rows(torch.arange(min(len(unseen), MOST))).sides()
    own = (cosine(first) - cosine(second)) / scales["base.spread"]
    base = torch.full((), best_scale(own, unseen.share[: len(own)]))
    learned = kind.start(shape, generator(settings.seed, 0, f"head/{name}"))
    people = tuple(train.voters()) if kind.personal else ()
    offsets = torch.zeros(len(people), settings.groups if kind.personal else 0)
    return Head(
        name=name,
        shape=shape,
        embedder=embedder,
        scales=scales,
        shared={"base": base, **{key: value.requires_grad_() for key, value in learned.items()}},
        people=people,
        offsets=offsets.requires_grad_(),
        precision=torch.eye(offsets.shape[1]) / settings.spread**2,
    )


def precision_of(head: Head) -> Float[Tensor, "k k"]:
    """Return the inverse covariance of people's weights, as those trained here turned out.

    Weights that hardly differ between people hardly move for a new person either. With few people
    the covariance is drawn towards a multiple of the identity that counts as k people.
    """
    count, groups = head.offsets.shape
    if count == 0 or groups == 0:
        return head.precision
    apart = (head.offsets - head.offsets.mean(dim=0)).double()
    scatter = apart.T @ apart
    even = scatter.trace() / count * torch.eye(groups, dtype=torch.float64)
    covariance = (scatter + even) / (count + groups)
    floor = FLOOR**2 * torch.eye(groups, dtype=torch.float64)
    return torch.linalg.inv(covariance + floor).to(head.offsets.dtype)


def calibrated(head: Head, validation: Pairs) -> Head:
    if not len(validation):
        return head
    scale = best_scale(head.judge(validation), validation.share, validation.weight)
    return replace(head, temperature=1 / scale)


def _both(first: Items, second: Items) -> Items:
    return Items(
        image=torch.cat([first.image, second.image]),
        prompt=torch.cat([first.prompt, second.prompt]),
    )
