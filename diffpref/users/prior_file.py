"""A population on disk: one safetensors file with a JSON header; the bundled one has a name."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffpref.assets import builtins
from diffpref.errors import DataError, UsageError
from diffpref.io import save_tensors
from diffpref.io.labelled import load_labelled
from diffpref.rewards.heads.head import EmbedderRef
from diffpref.users.features import Whitening
from diffpref.users.learn import Spread
from diffpref.users.prior import Prior

SCHEMA = "diffpref-prior/1"
LABEL = "diffpref"
FILE = "prior.safetensors"
"""What `train-reward --head bt-prior` writes into its folder."""

BUNDLED = ("bt-world",)
MAX_BYTES = 64 * 2**20


def save_prior(path: Path | str, prior: Prior) -> None:
    """Write a population.

    Raises:
        DiskError: the folder cannot be written; an older file is intact.
    """
    spread, whitening = prior.spread, prior.whitening
    about = {
        "schema": SCHEMA,
        "embedder": {"scorer": prior.embedder.scorer, "fingerprint": prior.embedder.fingerprint},
        "floor": spread.floor,
        "sha256": prior.sha256,
        "about": dict(prior.about),
    }
    tensors = {
        "whitening.mean": whitening.mean.float(),
        "whitening.matrix": whitening.matrix.float(),
        "mean": spread.mean.float(),
        "basis": spread.basis.float(),
        "strength": spread.strength.float(),
        "rows": prior.rows.float(),
    }
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    save_tensors(path, tensors, {LABEL: json.dumps(about, sort_keys=True)})


def load_prior(path: Path | str, name: str | None = None) -> Prior:
    """Read a population.

    Args:
        path: of the file.
        name: what profiles call it; the file's stem if absent.

    Raises:
        DataError: missing, damaged, changed since it was written, or no population.
    """
    tensors, labels = load_labelled(path, max_bytes=MAX_BYTES)
    hint = "name a file that `diffpref train-reward --head bt-prior` wrote, or bt-world"
    try:
        about = json.loads(labels[LABEL])
        if about["schema"] != SCHEMA:
            raise ValueError(f"schema {about['schema']}")
        prior = _prior(name or _stem(Path(path)), tensors, about)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"is no population: {error!r}", where=str(path), hint=hint) from error
    if prior.sha256 != about["sha256"]:
        raise DataError("was changed after it was written", where=str(path), hint=hint)
    return prior


def find_prior(name: str, near: Path | None = None) -> Prior:
    """Return a population by its file, its bundled name, or its name beside a profile.

    Args:
        name: a file, a folder of `train-reward --head bt-prior`, or a name such as bt-world.
        near: a folder that may hold `<name>.safetensors` or `<name>/prior.safetensors`.

    Raises:
        UsageError: there is none; says where was looked.
        DataError: it is damaged.
    """
    if name in BUNDLED and name in builtins():
        return load_prior(builtins()[name], name)
    path = Path(name)
    beside = [] if near is None else [near / f"{name}.safetensors", near / name / FILE]
    for each in (path / FILE, path, *beside):
        if each.is_file():
            return load_prior(each)
    what = f"there is no population '{name}'"
    hint = f"give --prior FILE; bundled: {', '.join(BUNDLED)}"
    raise UsageError(what, where="--prior", hint=hint)


def _stem(path: Path) -> str:
    """Return the file's stem, or its folder's name where every file is called the same."""
    return path.resolve().parent.name if path.name == FILE else path.stem


def _prior(name: str, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> Prior:
    spread = Spread(
        mean=tensors["mean"].double(),
        basis=tensors["basis"].double(),
        strength=tensors["strength"].double(),
        floor=float(about["floor"]),
    )
    whitening = Whitening(mean=tensors["whitening.mean"], matrix=tensors["whitening.matrix"])
    sizes = {len(spread.mean), spread.basis.shape[0], whitening.width, tensors["rows"].shape[1]}
    finite = all(bool(torch.isfinite(each).all()) for each in tensors.values())
    if len(sizes) > 1 or spread.basis.shape[1] != len(spread.strength) or not finite:
        raise ValueError("its numbers do not fit together")
    ref = about["embedder"]
    return Prior(
        name=name,
        embedder=EmbedderRef(scorer=str(ref["scorer"]), fingerprint=str(ref["fingerprint"])),
        whitening=whitening,
        spread=spread,
        rows=tensors["rows"],
        about=about["about"],
    )
