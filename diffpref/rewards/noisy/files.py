"""A noisy reward on disk: noisy.json says what it is, noisy.safetensors holds its numbers."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

from torch import Tensor

from diffpref.errors import DataError, nearest, why
from diffpref.io import BadText, load_weights, read_json, save_tensors, write_json
from diffpref.models import Bundle
from diffpref.models.probe import probe, same
from diffpref.rewards.heads.head import EmbedderRef
from diffpref.rewards.noisy import KINDS
from diffpref.rewards.noisy.head import LEARNED, StepHead

SCHEMA = "diffpref-noisy-reward/1"
ABOUT, NUMBERS = "noisy.json", "noisy.safetensors"
PARTS = {"latent": ("unet", "text"), "step-aware": ("unet", "text", "vae")}
"""What of the base a kind reads."""


@dataclass(frozen=True, kw_only=True)
class SavedNoisy:
    """A trained head of one kind, the base it reads and, for step-aware, the scorer.

    `probes` tell the base's weights, by part; `fingerprints` are those of the load it was trained
    on, for the reader.
    """

    kind: str
    head: StepHead
    base: str
    fingerprints: Mapping[str, str]
    probes: Mapping[str, Tensor]
    scorer: EmbedderRef | None = None


def probes_of(bundle: Bundle, kind: str) -> dict[str, Tensor]:
    """Return a probe of each part of the base that a kind reads, and its noise schedule."""
    nets = {"unet": [bundle.unet], "vae": [bundle.vae], "text": list(bundle.text.encoders)}
    found = {part: probe(nets[part]) for part in PARTS[kind]}
    return {**found, "schedule": bundle.schedule.abar.float()}


def require_base(saved: SavedNoisy, bundle: Bundle, folder: Path) -> None:
    """Refuse a base that the reward was not trained on.

    Raises:
        DataError: names the parts that differ.
    """
    now = probes_of(bundle, saved.kind)
    other = [part for part, value in saved.probes.items() if not same(now[part], value)]
    if other:
        raise DataError(
            f"was trained on another base, {saved.base} ({', '.join(other)} differ from "
            f"{bundle.source})",
            where=str(folder),
            hint=f"set model.base: {saved.base}, or train it again: diffpref train-reward SOURCE "
            f"--head {saved.kind} --base {bundle.source} --out FOLDER",
        )


def save_noisy(folder: Path | str, saved: SavedNoisy) -> None:
    """Write a reward's folder; noisy.json, which names the other file's hash, comes last.

    Raises:
        DiskError: the folder cannot be written.
    """
    root, head = Path(folder), saved.head
    root.mkdir(parents=True, exist_ok=True)
    save_tensors(
        root / NUMBERS,
        {
            "mean": head.mean,
            "spread": head.spread,
            "base": head.base,
            **{f"learned/{name}": value.detach() for name, value in head.learned.items()},
            **{f"probe/{part}": value for part, value in saved.probes.items()},
        },
    )
    scorer = saved.scorer
    about = {
        "schema": SCHEMA,
        "kind": saved.kind,
        "base": saved.base,
        "fingerprints": dict(saved.fingerprints),
        "scorer": None
        if scorer is None
        else {"scorer": scorer.scorer, "fingerprint": scorer.fingerprint},
        "length": head.length,
        "numbers_sha256": sha256((root / NUMBERS).read_bytes()).hexdigest(),
    }
    write_json(root / ABOUT, about)


def load_noisy(folder: Path | str) -> SavedNoisy:
    """Read a reward's folder.

    Raises:
        DataError: it is absent, damaged, of an unknown kind, or its two files do not fit.
    """
    root = Path(folder)
    about = _about(root / ABOUT)
    numbers = load_weights(root / NUMBERS)
    if sha256((root / NUMBERS).read_bytes()).hexdigest() != about.get("numbers_sha256"):
        hint = "train the reward again, or copy both files of one reward"
        raise DataError(f"does not belong to {ABOUT}", where=str(root / NUMBERS), hint=hint)
    try:
        return _saved(about, numbers)
    except (KeyError, TypeError, ValueError) as error:
        what, hint = f"is damaged: {error!r}", "train the reward again"
        raise DataError(what, where=str(root / ABOUT), hint=hint) from error


def _saved(about: Mapping[str, Any], numbers: Mapping[str, Tensor]) -> SavedNoisy:
    scorer = about["scorer"]
    probes = {key[6:]: value for key, value in numbers.items() if key.startswith("probe/")}
    missing = {*PARTS[about["kind"]], "schedule"} - probes.keys()
    if missing:
        raise ValueError(f"no probe of {sorted(missing)}")
    return SavedNoisy(
        kind=str(about["kind"]),
        head=StepHead(
            length=int(about["length"]),
            mean=numbers["mean"],
            spread=numbers["spread"],
            base=numbers["base"],
            learned={name: numbers[f"learned/{name}"] for name in LEARNED},
        ),
        base=str(about["base"]),
        fingerprints={str(part): str(told) for part, told in about["fingerprints"].items()},
        probes=probes,
        scorer=None if scorer is None else EmbedderRef(**scorer),
    )


def _about(path: Path) -> dict[str, Any]:
    try:
        about = read_json(path)
    except (OSError, BadText) as error:
        hint = "name a folder that diffpref train-reward --head latent or step-aware wrote"
        raise DataError(f"cannot be read: {why(error)}", where=str(path), hint=hint) from error
    if not isinstance(about, dict) or about.get("schema") != SCHEMA:
        what = f"is no noisy reward ({SCHEMA})"
        raise DataError(what, where=str(path), hint="train the reward again")
    if about.get("kind") not in KINDS:
        hint = f"{nearest(str(about.get('kind')), KINDS)}; update diffpref if it is newer"
        raise DataError(f"unknown kind '{about.get('kind')}'", where=str(path), hint=hint)
    return cast(dict[str, Any], about)
