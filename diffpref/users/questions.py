"""Which pictures of a folder to compare next."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from diffpref.errors import DataError
from diffpref.rewards.heads.embeddings import EmbeddingStore
from diffpref.rewards.heads.items import Items
from diffpref.users.ask import Question, ask, candidates
from diffpref.users.profile import UserProfile
from diffpref.users.read import NO_PROMPT, embedded_files


@torch.no_grad()
def best_pairs(
    profile: UserProfile,
    files: Sequence[Path],
    prompts: Mapping[Path, str],
    store: EmbeddingStore,
    count: int,
) -> list[tuple[Path, Path, Question]]:
    """Return the most informative pairs of pictures, in the order to ask them.

    Args:
        profile: whose taste to learn.
        files: the pictures.
        prompts: of those whose prompt is known.
        store: keeps the embeddings.
        count: how many pairs.

    Raises:
        DataError: fewer than two pictures, or one cannot be read.
    """
    if len(files) < 2:
        hint = "give a folder of two or more pictures"
        raise DataError(f"{len(files)} pictures make no pair", where="--candidates", hint=hint)
    texts = [prompts.get(file, NO_PROMPT) for file in files]
    keys, _ = embedded_files(files, texts, store)
    items = Items(image=store.images(keys), prompt=store.prompts(texts))
    z = profile.prior.whitening(items)
    z[[text == NO_PROMPT for text in texts], 0] = 0
    rows = [(one, two) for one, two in candidates(texts) if keys[one] != keys[two]]
    if not rows:
        hint = "give different pictures"
        raise DataError("all pictures are the same", where="--candidates", hint=hint)
    ones, twos = (torch.tensor([each[side] for each in rows]) for side in (0, 1))
    found = ask(profile.belief, z[ones] - z[twos], count)
    return [(files[rows[each.row][0]], files[rows[each.row][1]], each) for each in found]
