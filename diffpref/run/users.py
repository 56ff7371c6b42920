"""The users of a run: who is described by what, on the training data and on held-out people."""

from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from diffpref.config.schema import DataConfig, RunConfig, UsersConfig
from diffpref.data.batches import CachedPairs
from diffpref.data.cache import Cache
from diffpref.data.features import image_features
from diffpref.data.personal import Instead, Personal
from diffpref.data.support import SupportSampler, UserEncoder
from diffpref.data.user_encoders import WorldTaste, fit_mean_difference
from diffpref.errors import ConfigError, UsageError
from diffpref.models import Bundle
from diffpref.rewards import load_scorer
from diffpref.run.data import Progress, cache_of, source_of
from diffpref.run.vlm_users import FEATURES, for_others, make_vlm_users, require_choices, unseen
from diffpref.users.encoder import BtEncoder, make_bt_encoder
from diffpref.users.prior_file import BUNDLED, find_prior
from diffpref.users.vlm.encoder import VlmEncoder


def make_users(config: RunConfig, cache: Cache, seed: int) -> Personal | None:
    """Return whom the rows of a run are for, or None for a run without users.

    Raises:
        ConfigError: nobody in the data made two choices, or the encoder does not fit.
    """
    settings, data = config.users, config.data
    if settings is None or data is None:
        return None
    if settings.encoder == "vlm":
        return make_vlm_users(config, data, settings, cache)
    known = _bt_encoder(settings, cache) if settings.encoder == "bt" else None
    features = _features(data, settings, cache)
    encode = known or _encoder(settings, features)
    _check_width(settings, encode)
    support = SupportSampler(rows=cache.rows, sizes=settings.support, seed=seed)
    require_choices(support)
    return Personal(
        support=support,
        encode=encode,
        features=features,
        dropout=settings.dropout,
        counter=settings.counter,
    )


def held_out_pairs(
    config: RunConfig, bundle: Bundle, users: Personal, progress: Progress | None = None
) -> CachedPairs:
    """Return the held-out rows, each described by other choices of its own user.

    Raises:
        DataError: the split cannot be read.
    """
    settings, data = config.users, config.data
    assert settings is not None  # only runs with users have held-out ones
    assert settings.held_out is not None
    assert data is not None
    changes = {"split": settings.held_out, "max_rows": settings.held_out_rows}
    other = data.model_copy(update=changes)
    cache = cache_of(other, bundle, config.seed, progress)
    if isinstance(users.encode, BtEncoder):
        users.encode.prompts.learn(row.prompt for row in cache.rows)
    vlm = isinstance(users.encode, VlmEncoder)
    theirs = Personal(
        support=SupportSampler(
            rows=cache.rows, sizes=(settings.held_out_support,), seed=config.seed, parted=vlm
        ),
        encode=users.encode,
        features=unseen(cache) if vlm else _features(other, settings, cache),
    )
    if isinstance(users.encode, VlmEncoder):
        theirs = for_others(users.encode, theirs, other, cache)
    return CachedPairs(
        cache=cache,
        seed=config.seed,
        prompts_per_step=1,
        time_ids=bundle.family.time_ids,
        users=theirs,
    )


def variants(pairs: CachedPairs) -> dict[str, CachedPairs]:
    """Return held-out rows as they are told: own users, others, nobody, and the zero vector.

    swapped: the next user of the data, the last one's being the first. null: a gate of 0.
    anyone: a vector of zeros that is heard, whom nothing is known of.
    """
    users = pairs.users
    assert isinstance(users, Personal)
    names = users.support.users
    after = dict(zip(names, [*names[1:], *names[:1]], strict=True))

    def told(instead: Instead) -> CachedPairs:
        return replace(pairs, users=replace(users, instead=instead))

    return {
        "own": pairs,
        "swapped": told(lambda own: None if own is None else after.get(own)),
        "null": replace(pairs, users=replace(users, dropout=1.0)),
        "anyone": told(_nobody),
    }


def _nobody(own: str | None) -> str:
    del own
    return ""


def _features(
    data: DataConfig, settings: UsersConfig, cache: Cache
) -> dict[str, Float[Tensor, " d"]]:
    scorer = load_scorer(settings.scorer)
    return image_features(cache, source_of(data), scorer, Path(data.cache) / FEATURES)


def _encoder(settings: UsersConfig, features: dict[str, Float[Tensor, " d"]]) -> UserEncoder:
    if settings.encoder == "world_taste":
        return WorldTaste()
    return fit_mean_difference(torch.stack(list(features.values())), settings.width)


def _check_width(settings: UsersConfig, encoder: UserEncoder) -> None:
    if encoder.width != settings.width:
        what = f"{settings.encoder} gives {encoder.width} numbers"
        hint = f"set users.width: {encoder.width}"
        raise ConfigError(what, where="users.width", hint=hint)


def _bt_encoder(settings: UsersConfig, cache: Cache) -> BtEncoder:
    try:
        prior = find_prior(settings.prior)
    except UsageError as error:
        hint = f"learn it: diffpref train-reward VOTES --head bt-prior; bundled: {BUNDLED[0]}"
        raise ConfigError(error.what, where="users.prior", hint=hint) from error
    if settings.scorer != prior.embedder.scorer:
        what = f"'{prior.name}' reads {prior.embedder.scorer}, not {settings.scorer}"
        hint = f"set users.scorer: {prior.embedder.scorer}"
        raise ConfigError(what, where="users.scorer", hint=hint)
    prompts = [row.prompt for row in cache.rows]
    return make_bt_encoder(prior, load_scorer(settings.scorer), prompts)
