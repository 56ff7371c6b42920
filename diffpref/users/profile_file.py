"""A profile on disk: one safetensors file of a few kilobytes with a JSON header.

It holds numbers and hashes: no picture, no prompt, no name, no path, nothing that can run. With
kept statistics it holds hashes of the voted pictures, by which somebody who has the same picture
can tell that it was voted on.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from diffpref.errors import DataError
from diffpref.io import save_tensors
from diffpref.io.fs import PRIVATE, RealFs
from diffpref.io.labelled import load_labelled
from diffpref.users.evidence_file import evidence_in, kept
from diffpref.users.left_out import LeftOut
from diffpref.users.posterior import Belief
from diffpref.users.prior import Prior
from diffpref.users.prior_file import LABEL, find_prior
from diffpref.users.profile import EncoderName, UserProfile, entropy
from diffpref.users.vlm.profile import is_vlm_profile, load_vlm_profile
from diffpref.users.words import read_words

VERSION = 1
SCHEMA = "diffpref-profile"
MAX_BYTES = 4 * 2**20
_DAMAGED = "is no profile, or damaged"
_MAKE = "make one with `diffpref profile fit`"


def save_profile(path: Path | str, profile: UserProfile) -> None:
    """Write a profile as a whole, readable by its owner alone.

    Raises:
        DiskError: the folder cannot be written; an older file is intact.
    """
    tensors = {
        "mean": profile.belief.mean.float(),
        "cov": _packed(profile.belief.cov).float(),
        "embedding": profile.embedding,
    }
    if profile.evidence is not None:
        tensors |= kept(profile.evidence)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    labels = {LABEL: json.dumps(_header(profile), sort_keys=True)}
    save_tensors(path, tensors, labels, fs=RealFs(mode=PRIVATE))


def load_profile(path: Path | str, prior: Prior | str | None = None) -> UserProfile:
    """Read a profile and the population it belongs to.

    Args:
        path: of the file.
        prior: the population, its file or its name; if absent, the one the profile names: a
            bundled one, or a file of that name beside the profile.

    Raises:
        DataError: damaged, of a newer version, or of another population or encoder.
        UsageError: its population is not found.
    """
    tensors, labels = load_labelled(path, max_bytes=MAX_BYTES)
    about = _about(labels, str(path))
    if not isinstance(prior, Prior):
        prior = find_prior(prior or str(about["prior"]["id"]), Path(path).parent)
    _check(about, prior, str(path))
    try:
        profile = _profile(tensors, about, prior)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"{_DAMAGED}: {error!r}", where=str(path), hint=_MAKE) from error
    if not torch.allclose(profile.embedding, tensors["embedding"], rtol=1e-3, atol=1e-4):
        what = "its embedding does not follow from its numbers"
        raise DataError(what, where=str(path), hint="it was changed by hand; fit it again")
    return profile


def require_profile(path: Path | str) -> None:
    """Refuse a file that is no profile; its population is not needed.

    Raises:
        DataError: it is none.
    """
    if load_vlm_profile(Path(path)) is None:
        _about(load_labelled(path, max_bytes=MAX_BYTES)[1], str(path))


def _header(profile: UserProfile) -> dict[str, Any]:
    return {
        "format": SCHEMA,
        "version": VERSION,
        "encoder": {"id": profile.encoder_id, "sha256": profile.encoder_sha256},
        "prior": {"id": profile.prior_id, "sha256": profile.prior_sha256},
        "base": "any",
        "n_pairs": profile.pairs,
        "n_eff": profile.effective,
        "exact": profile.exact,
        "left_out": asdict(profile.left_out),
        "leave_one_out_accuracy": profile.left_out.accuracy,
        "predictive_entropy_bits": entropy(profile.belief),
        "sources": list(profile.sources),
        "words": None if profile.words is None else profile.words.plain(),
        "created": profile.created,
    }


def _about(labels: Mapping[str, str], where: str) -> dict[str, Any]:
    if is_vlm_profile(labels):
        what = "is what a vision-language model says of somebody: it holds no belief to judge by"
        hint = "fit one of --encoder bt to the same votes; this one is for generate --adapter RUN"
        raise DataError(what, where=where, hint=hint)
    try:
        about = json.loads(labels[LABEL])
        known, version = about["format"] == SCHEMA, int(about["version"])
        _ = about["prior"]["id"], about["prior"]["sha256"], about["encoder"]["sha256"]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{_DAMAGED}: {error!r}", where=where, hint=_MAKE) from error
    if not known:
        raise DataError("is no profile", where=where, hint=_MAKE)
    if version != VERSION:
        what = f"is of format version {version}; this diffpref reads {VERSION}"
        raise DataError(what, where=where, hint="update diffpref")
    return cast(dict[str, Any], about)


def _check(about: Mapping[str, Any], prior: Prior, where: str) -> None:
    """Refuse a profile of another encoder or population."""
    if about["encoder"]["sha256"] != prior.encoder_sha256:
        what = f"was made with another encoder than {prior.name} reads ({about['encoder']['id']})"
    elif about["prior"]["sha256"] != prior.sha256:
        what = f"was made with another population than this '{prior.name}'"
    else:
        return
    hint = f"give --prior the file of '{about['prior']['id']}' it was fitted with, or fit it again"
    raise DataError(what, where=where, hint=hint)


def _profile(tensors: Mapping[str, Tensor], about: Mapping[str, Any], prior: Prior) -> UserProfile:
    size = len(prior.spread.mean)
    if not all(bool(torch.isfinite(each).all()) for each in tensors.values()):
        raise ValueError("a number is not finite")
    if tensors["mean"].shape != (size,) or tensors["embedding"].shape != (prior.size,):
        raise ValueError("its numbers do not fit its population")
    name = str(about["encoder"]["id"]).partition("/")[0]
    if name not in ("bt", "table"):
        raise ValueError(f"unknown encoder {name}")
    words, cov = about["words"], _unpacked(tensors["cov"].double(), size)
    torch.linalg.cholesky(cov)  # refuses what is no covariance
    return UserProfile(
        prior=prior,
        encoder=cast(EncoderName, name),
        belief=Belief(mean=tensors["mean"].double(), cov=cov),
        pairs=int(about["n_pairs"]),
        effective=float(about["n_eff"]),
        evidence=evidence_in(tensors) if "gap" in tensors else None,
        exact=bool(about["exact"]),
        left_out=LeftOut(**about["left_out"]),
        sources=tuple(str(each) for each in about["sources"]),
        words=None if words is None else read_words(words),
        created=str(about["created"]),
    )


def _packed(cov: Tensor) -> Tensor:
    rows, columns = torch.tril_indices(*cov.shape)
    return cov[rows, columns]


def _unpacked(values: Tensor, size: int) -> Tensor:
    cov = torch.zeros(size, size, dtype=values.dtype)
    rows, columns = torch.tril_indices(size, size)
    cov[rows, columns] = values
    return cov + torch.tril(cov, -1).T
