"""Pictures liked and disliked, without pairs, as evidence."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from diffpref.errors import DataError
from diffpref.rewards.heads.embeddings import EmbeddingStore
from diffpref.rewards.heads.pairs import NOBODY, Pairs
from diffpref.users.evidence import ID_BYTES, NO_PICTURE, Evidence, vote_id
from diffpref.users.prior import Prior
from diffpref.users.read import NO_PROMPT, Told, embedded_files
from diffpref.users.words import WORDS, attributes_of


def read_likes(
    prior: Prior,
    liked: Sequence[Path],
    disliked: Sequence[Path],
    store: EmbeddingStore,
    prompts: Mapping[Path, str] | None = None,
) -> Told:
    """Return pictures liked and disliked, without pairs, as evidence.

    Every like is compared with every dislike, the weights having the sum min(likes, dislikes).
    Likes alone (or dislikes alone) are compared with the mean picture the population voted on.
    Unpaired pictures differ in subject as well as in taste, which a note says.

    Args:
        prior: whose features describe the pictures.
        liked: image files.
        disliked: image files.
        store: keeps the embeddings.
        prompts: of the pictures; one whose prompt is unknown is not judged by its own score.

    Raises:
        DataError: a picture cannot be read, or there is none.
    """
    files = [*liked, *disliked]
    if not files:
        raise DataError("no pictures", where="--liked", hint="give --liked DIR or --disliked DIR")
    texts = [(prompts or {}).get(file, NO_PROMPT) for file in files]
    keys, pictures = embedded_files(files, texts, store)
    place = torch.arange(len(files))
    table = Pairs(
        images=store.images(keys),
        prompts=store.prompts(texts),
        keys=tuple(keys),
        texts=tuple(texts),
        prompt=place,
        first=place,
        second=place,
        person=torch.full_like(place, NOBODY),
        people=(),
        share=torch.ones(len(files)),
        weight=torch.ones(len(files)),
    )
    looks = torch.stack([attributes_of(pictures[key]) for key in keys])
    z = _features(prior, table)
    many = len(liked)
    if liked and disliked:
        note = "likes against dislikes: they differ in subject as well as in taste"
        votes = _crossed(z, looks, keys, many)
    else:
        note = "one side only, against the population's mean picture: weaker than pairs"
        votes = _alone(z, looks, keys, 1.0 if liked else 0.0)
    return Told(votes=votes, sources=("likes",), notes=(note,))


@torch.no_grad()
def _features(prior: Prior, table: Pairs) -> Tensor:
    z = prior.whitening(table.sides()[0])
    unknown = torch.tensor([text == NO_PROMPT for text in table.texts])
    z[unknown, 0] = 0
    return z


def _crossed(z: Tensor, looks: Tensor, keys: Sequence[bytes], many: int) -> Evidence:
    rows = [(one, two) for one in range(many) for two in range(many, len(keys))]
    weight = min(many, len(keys) - many) / len(rows)
    ones, twos = ([each[side] for each in rows] for side in (0, 1))
    return _evidence(
        [keys[one] for one in ones],
        [keys[two][:ID_BYTES] for two in twos],
        (z[ones] - z[twos], looks[ones] - looks[twos]),
        share=1.0,
        weight=weight,
    )


def _alone(z: Tensor, looks: Tensor, keys: Sequence[bytes], share: float) -> Evidence:
    # Whitened features have mean 0 over the pictures the population voted on, attributes over
    # those they are standardised on.
    return _evidence(keys, [NO_PICTURE] * len(keys), (z, looks), share=share, weight=1.0)


def _evidence(
    first: Sequence[bytes],
    second: Sequence[bytes],
    gaps: tuple[Tensor, Tensor],
    *,
    share: float,
    weight: float,
) -> Evidence:
    short = tuple(key[:ID_BYTES] for key in first)
    whole = Evidence(
        ids=tuple(
            vote_id(NO_PROMPT, one, two, share) for one, two in zip(short, second, strict=True)
        ),
        first=short,
        second=tuple(second),
        gap=gaps[0],
        looks=gaps[1].reshape(-1, len(WORDS)),
        share=torch.full((len(first),), share),
        weight=torch.full((len(first),), weight),
    )
    return whole.rows(range(len(whole)))
