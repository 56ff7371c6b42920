"""The users of a run as a vision-language model sees them: every set of choices is read once."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from diffpref.config.fits import auto_device
from diffpref.config.schema import DataConfig, RunConfig, UsersConfig, VlmConfig
from diffpref.data.cache import Cache
from diffpref.data.personal import Personal
from diffpref.data.pictures import Shelf, shelved
from diffpref.data.prepare import pixels_of
from diffpref.data.support import SupportPair, SupportSampler, support_pairs
from diffpref.errors import ConfigError
from diffpref.run.data import source_of
from diffpref.users.vlm.encoder import VlmEncoder, groups
from diffpref.users.vlm.open import load_reader
from diffpref.users.vlm.reader import VlmReader
from diffpref.users.vlm.reading import Reading
from diffpref.users.vlm.standard import fit_standard
from diffpref.users.vlm.states import States

FEATURES = "features"
"""Folder beside the cached latents that holds what encoders made of the same images."""


def make_vlm_users(
    config: RunConfig, data: DataConfig, settings: UsersConfig, cache: Cache
) -> Personal:
    """Return whom the rows are for, all that training draws read beforehand.

    Raises:
        ConfigError: the model cannot be loaded or has no such layer, nobody made two choices, or
            the states do not vary in `users.width` directions.
    """
    told = settings.vlm
    assert told is not None  # check_fits
    support = SupportSampler(rows=cache.rows, sizes=settings.support, seed=config.seed, parted=True)
    require_choices(support)
    states = _states(open_reader(told), cache, data, told)
    sets = _conversations(support, told.pairs)
    states.fill(sets)
    rows = torch.stack([states(each) for each in sets])
    encode = VlmEncoder(states=states, standard=fit_standard(rows, settings.width), most=told.pairs)
    return Personal(
        support=support,
        encode=encode,
        features=unseen(cache),
        dropout=settings.dropout,
        counter=settings.counter,
    )


def for_others(encode: VlmEncoder, theirs: Personal, data: DataConfig, cache: Cache) -> Personal:
    """Return held-out people described by a run's encoder, whose pictures are other ones."""
    folder = Path(data.cache) / FEATURES
    shelf = shelved(cache, source_of(data), folder, encode.states.reader.reading.side)
    states = States(encode.states.reader, shelf, folder)
    states.fill(_conversations(theirs.support, encode.most))
    return replace(theirs, encode=replace(encode, states=states))


def open_reader(told: VlmConfig) -> VlmReader:
    """Load the model of a configuration."""
    reading = Reading(
        layer=told.layer,
        pooling=told.pooling,
        words=told.words,
        side=told.side,
        dtype=told.dtype,
    )
    return load_reader(Path(told.folder), reading, device=auto_device(told.device))


def require_choices(support: SupportSampler) -> None:
    """Refuse data in which nobody can be described by other choices.

    Raises:
        ConfigError: nobody made two choices.
    """
    if not any(support.candidates(row) for row in range(len(support.rows))):
        hint = "give data whose rows name their user, or leave `users` out"
        raise ConfigError("nobody made two choices", where="data.source", hint=hint)


def unseen(cache: Cache) -> Mapping[str, Float[Tensor, " d"]]:
    """Return features of every image that say nothing: this encoder looks at the pictures."""
    names = {pixels_of(entry) for row in cache.rows for entry in row.images}
    return dict.fromkeys(names, torch.zeros(0))


def _states(reader: VlmReader, cache: Cache, data: DataConfig, told: VlmConfig) -> States:
    folder = Path(data.cache) / FEATURES
    shelf: Shelf = shelved(cache, source_of(data), folder, reader.reading.side)
    return States(reader, shelf, folder, batch=told.batch)


def _conversations(support: SupportSampler, most: int) -> list[list[SupportPair]]:
    """Return every conversation that a row's draw leads to, each once."""
    nothing = {pixels_of(e): torch.zeros(0) for row in support.rows for e in row.images}
    found: dict[tuple[object, ...], list[SupportPair]] = {}
    for part in support.drawable():
        for group in groups(support_pairs([support.rows[each] for each in part], nothing), most):
            found[tuple((pair.prompt, pair.images) for pair in group)] = list(group)
    return list(found.values())
