"""A head on disk: head.json says what it is, head.safetensors holds its numbers; no pickle."""

from collections.abc import Mapping
from dataclasses import asdict, fields
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

from torch import Tensor

from diffpref.errors import DataError, nearest, why
from diffpref.io import BadText, load_weights, read_json, save_tensors, write_json
from diffpref.rewards.heads import HEADS
from diffpref.rewards.heads.head import EmbedderRef, ExtraRef, Head
from diffpref.rewards.heads.kind import Shape

SCHEMA = "diffpref-head/2"
ABOUT, NUMBERS = "head.json", "head.safetensors"


def save_head(folder: Path | str, head: Head) -> None:
    """Write a head's folder; head.json, which names the other file's hash, comes last.

    Raises:
        DiskError: the folder cannot be written; an older head.json then no longer fits and says so.
    """
    root = Path(folder)
    root.mkdir(parents=True, exist_ok=True)
    save_tensors(
        root / NUMBERS,
        {
            "offsets": head.offsets,
            "precision": head.precision,
            **{f"shared/{name}": value for name, value in head.shared.items()},
            **{f"scales/{name}": value for name, value in head.scales.items()},
        },
    )
    about = {
        "schema": SCHEMA,
        "head": head.name,
        "embedder": asdict(head.embedder),
        "shape": asdict(head.shape),
        "temperature": head.temperature,
        "people": list(head.people),
        "numbers_sha256": sha256((root / NUMBERS).read_bytes()).hexdigest(),
    }
    write_json(root / ABOUT, about)


def load_head(folder: Path | str) -> Head:
    """Read a head's folder.

    Raises:
        DataError: it is absent, damaged, of an unknown kind, or its two files do not fit.
    """
    root = Path(folder)
    about = _about(root / ABOUT)
    numbers = load_weights(root / NUMBERS)
    if sha256((root / NUMBERS).read_bytes()).hexdigest() != about.get("numbers_sha256"):
        hint = "train the head again, or copy both files of one head"
        raise DataError(f"does not belong to {ABOUT}", where=str(root / NUMBERS), hint=hint)
    try:
        return Head(
            name=_known(str(about["head"]), root / ABOUT),
            shape=Shape(**{each.name: int(about["shape"][each.name]) for each in fields(Shape)}),
            embedder=_embedder(about["embedder"]),
            scales=_under("scales/", numbers),
            shared=_under("shared/", numbers),
            people=tuple(str(name) for name in about["people"]),
            offsets=numbers["offsets"],
            precision=numbers["precision"],
            temperature=float(about["temperature"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        what, hint = f"is damaged: {error!r}", "train the head again"
        raise DataError(what, where=str(root / ABOUT), hint=hint) from error


def _about(path: Path) -> dict[str, Any]:
    try:
        about = read_json(path)
    except (OSError, BadText) as error:
        hint = "name a folder that diffpref train-reward wrote"
        raise DataError(f"cannot be read: {why(error)}", where=str(path), hint=hint) from error
    if not isinstance(about, dict) or about.get("schema") != SCHEMA:
        raise DataError(f"is no head ({SCHEMA})", where=str(path), hint="train the head again")
    return cast(dict[str, Any], about)


def _embedder(told: Mapping[str, Any]) -> EmbedderRef:
    extras = [
        ExtraRef(
            name=str(each["name"]), width=int(each["width"]), fingerprint=str(each["fingerprint"])
        )
        for each in told["extras"]
    ]
    return EmbedderRef(
        scorer=str(told["scorer"]), fingerprint=str(told["fingerprint"]), extras=tuple(extras)
    )


def _known(name: str, path: Path) -> str:
    if name not in HEADS:
        hint = f"{nearest(name, HEADS)}; update diffpref if the head is newer"
        raise DataError(f"unknown kind of head '{name}'", where=str(path), hint=hint)
    return name


def _under(prefix: str, numbers: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): value
        for name, value in numbers.items()
        if name.startswith(prefix)
    }
