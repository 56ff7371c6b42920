"""Votes of a data set as pairs of scored pictures: a table of scores where embeddings would be."""

from collections.abc import Mapping

import torch

from diffpref.data.labels import LabelTable
from diffpref.data.readers import RecordSource
from diffpref.data.records import BadRow
from diffpref.data.votes import Collected, Votes, collect, no_pairs, to_pairs
from diffpref.rewards.heads.embeddings import content_key


def scored_votes(sources: Mapping[str, RecordSource], tables: Mapping[str, LabelTable]) -> Votes:
    """Read the votes of one source in its parts, with the scores of its pictures.

    Args:
        sources: the parts of the source by name.
        tables: a label table for each part; rows it does not know are left out.

    Returns:
        Pairs whose `images` hold one score per scorer and whose `prompts` are empty of meaning.

    Raises:
        DataError: nothing is left.
    """
    found, bad, values = Collected(), [], {}
    for part, source in sources.items():
        table = tables[part]
        for row in source.rows(pixels=False):
            if isinstance(row, BadRow):
                bad.append(str(row))
                continue
            keys = [content_key(f"{row.prompt}\0{image.key}".encode()) for image in row.images]
            scores = [table.scores.get((row.prompt, image.key)) for image in row.images]
            known = [score for score in scores if score is not None]
            if len(known) < len(scores):
                bad.append(f"{row.where}: an image has no score")
                continue
            values.update(zip(keys, known, strict=True))
            collect(found, row, keys, part)
    if not found.rows:
        raise no_pairs(sources, bad)
    images = torch.tensor([values[key] for key, _ in found.images])
    prompts = torch.zeros(len(found.prompts), images.shape[1])
    return Votes(pairs=to_pairs(found, images, prompts), parts=tuple(found.parts), bad=tuple(bad))
