"""A person as a vision-language model's states of their choices: a vector, and no belief.

It can be told to a model that learned its users by the same encoder. It judges no picture and is
not changed afterwards: for re-ranking, `add`, `forget` and `ask` there is the encoder bt.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from diffpref.data.support import SupportPair
from diffpref.errors import DataError
from diffpref.io import save_tensors
from diffpref.io.labelled import load_labelled
from diffpref.users.profile import now

if TYPE_CHECKING:
    from diffpref.users.vlm.encoder import VlmEncoder

LABEL, SCHEMA, VERSION = "diffpref", "diffpref-profile", 1
ENCODER = "vlm"
MAX_BYTES = 4 * 2**20
FEW = 4


@dataclass(frozen=True, kw_only=True)
class VlmProfile:
    """One person, nameless. Implements `Profile`.

    embedding: float32. fingerprint: of the encoder. pairs: choices read.
    """

    embedding: Float[Tensor, " u"] = field(repr=False)
    fingerprint: str
    pairs: int
    created: str = ""

    @property
    def sha256(self) -> str:
        """Hash of the taste."""
        told = self.embedding.float().contiguous().numpy().tobytes()
        return sha256(self.fingerprint.encode() + told).hexdigest()

    @property
    def verdict(self) -> str:
        """Say what it is worth: choices can be counted, and nothing foresees them."""
        few = f"too few pairs: {self.pairs}, where {FEW} are the least that say something; "
        return (
            few if self.pairs < FEW else ""
        ) + "a vlm profile foresees no votes, so that how well it knows the person is not measured"

    def summary(self) -> dict[str, Any]:
        """Return what `profile show --json` prints, all of it plain."""
        return {
            "encoder": {"id": self.fingerprint},
            "pairs": self.pairs,
            "embedding": [round(each, 6) for each in self.embedding.tolist()],
            "created": self.created,
            "verdict": self.verdict,
        }


def fit_vlm_profile(encoder: "VlmEncoder", choices: Sequence[SupportPair]) -> VlmProfile:
    """Return the profile of one person's choices; one given twice counts once.

    Raises:
        DataError: there are none.
    """
    once = list({(each.prompt, each.images): each for each in choices}.values())
    if not once:
        hint = "a vlm profile is made of choices: rows of two pictures, one of them chosen"
        raise DataError("nobody chose anything", where="votes", hint=hint)
    return VlmProfile(
        embedding=encoder(once), fingerprint=encoder.fingerprint, pairs=len(once), created=now()
    )


def save_vlm_profile(path: Path, profile: VlmProfile) -> None:
    """Write a profile as a whole: numbers and hashes, no picture, prompt or name.

    Raises:
        DiskError: the folder cannot be written; an older file is intact.
    """
    about = {
        "format": SCHEMA,
        "version": VERSION,
        "encoder": {"id": profile.fingerprint},
        "n_pairs": profile.pairs,
        "created": profile.created,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {"embedding": profile.embedding.contiguous()}
    save_tensors(path, tensors, {LABEL: json.dumps(about, sort_keys=True)})


def is_vlm_profile(labels: Mapping[str, str]) -> bool:
    """Say whether a file's labels are those of a vlm profile."""
    try:
        about = json.loads(labels[LABEL])
        kind = str(about["encoder"]["id"]).partition("/")[0]
        return about["format"] == SCHEMA and kind == ENCODER
    except (KeyError, TypeError, ValueError):
        return False


def load_vlm_profile(path: Path) -> VlmProfile | None:
    """Read a profile; None if it is one of another encoder.

    Raises:
        DataError: damaged, or of a newer version.
    """
    tensors, labels = load_labelled(path, max_bytes=MAX_BYTES)
    if not is_vlm_profile(labels):
        return None
    hint = "make one with `diffpref profile fit --encoder vlm`"
    try:
        about = json.loads(labels[LABEL])
        version, vector = int(about["version"]), tensors["embedding"].float()
        profile = VlmProfile(
            embedding=vector,
            fingerprint=str(about["encoder"]["id"]),
            pairs=int(about["n_pairs"]),
            created=str(about["created"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"is damaged: {error!r}", where=str(path), hint=hint) from error
    if version != VERSION:
        what = f"is of format version {version}; this diffpref reads {VERSION}"
        raise DataError(what, where=str(path), hint="update diffpref")
    if vector.ndim != 1 or not bool(torch.isfinite(vector).all()):
        raise DataError("is damaged: its embedding is no vector", where=str(path), hint=hint)
    return profile
