"""Golden files: scores recorded once with published weights, so that anyone with them can check.

    {"schema": "diffpref-golden/1", "scorer", "variant", "dtype", "preprocess_id", "tokenizer_id",
     "weights": [{"file", "sha256", "layout"}], "versions", "tolerance",
     "rows": [{"image", "sha256", "prompt", "score"}]}

An image `world:<n>` is built in and its hash is that of its pixels as bytes; any other is a file,
known by its name and the hash of its content.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffpref.errors import DataError, UsageError, why
from diffpref.io import BadText, read_json
from diffpref.rewards.examine import CAPTIONS, pictures, sha256_of
from diffpref.rewards.scorer import LoadedScorer

SCHEMA = "diffpref-golden/1"
BUILT_IN = "world:"
TOLERANCE, FINE_TOLERANCE = 2e-3, 5e-4
"""Largest differences of float32 scores that are no difference; the second for cosines."""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A picture and prompt of a golden file: `content` is what is scored."""

    image: str
    sha256: str
    prompt: str
    content: Path | Tensor


@dataclass(frozen=True, kw_only=True)
class Compared:
    """Recorded and found scores by row, rows whose image is not here, and the worst difference."""

    rows: tuple[tuple[float, float], ...]
    absent: tuple[str, ...]
    worst: float
    tolerance: float


def built_in() -> list[Shown]:
    """Return every built-in picture with every built-in caption."""
    found: list[Shown] = []
    for number, picture in enumerate(pictures()):
        digest = sha256(_bytes(picture).numpy().tobytes()).hexdigest()
        for prompt in CAPTIONS:
            image = f"{BUILT_IN}{number}"
            found.append(Shown(image=image, sha256=digest, prompt=prompt, content=picture))
    return found


def of_files(files: Sequence[Path], prompts: Sequence[str]) -> list[Shown]:
    """Return pictures of files, one prompt each.

    Raises:
        DataError: a file cannot be read.
        UsageError: two files of one name and prompt, which a golden file could not tell apart.
    """
    try:
        found = [
            Shown(image=file.name, sha256=sha256_of(file), prompt=prompt, content=file)
            for file, prompt in zip(files, prompts, strict=True)
        ]
    except OSError as error:
        what = f"cannot be read: {why(error)}"
        hint = "give an image, or a folder of images"
        raise DataError(what, where=error.filename, hint=hint) from error
    seen: dict[str, str] = {}
    for each in found:
        if seen.setdefault(each.image, each.sha256) != each.sha256:
            hint = "rename one of them"
            raise UsageError("names two different pictures", where=each.image, hint=hint)
    return found


def record(
    scorer: LoadedScorer,
    shown: Sequence[Shown],
    *,
    dtype: str,
    versions: Mapping[str, str],
    tolerance: float | None = None,
) -> dict[str, Any]:
    """Return a golden file's content.

    Args:
        scorer: who scores.
        shown: what is scored.
        dtype: precision it was loaded in.
        versions: packages the result may depend on.
        tolerance: of a later comparison; None is the usual one for the scorer's scale.

    Raises:
        DataError: an image is unusable, or a score not finite.
    """
    info = scorer.info
    low, high = info.range_hint
    usual = FINE_TOLERANCE if high - low <= 1 else TOLERANCE
    values = _scores(scorer, shown)
    return {
        "schema": SCHEMA,
        "scorer": info.name,
        "variant": info.variant,
        "dtype": dtype,
        "preprocess_id": info.preprocess_id,
        "tokenizer_id": info.tokenizer_id,
        "weights": [asdict(each) for each in info.weights],
        "versions": dict(versions),
        "tolerance": usual if tolerance is None else tolerance,
        "rows": [
            {"image": each.image, "sha256": each.sha256, "prompt": each.prompt, "score": value}
            for each, value in zip(shown, values, strict=True)
        ],
    }


def read_golden(path: Path) -> Mapping[str, Any]:
    """Read a golden file.

    Raises:
        DataError: there is none, or it is something else.
    """
    hint = "record one: diffpref scorers capture SCORER --out FILE.json"
    try:
        found = read_json(path)
    except (OSError, BadText) as error:
        raise DataError(f"cannot be read: {why(error)}", where=str(path), hint=hint) from error
    if not isinstance(found, dict) or found.get("schema") != SCHEMA:
        raise DataError(f"is no golden file ({SCHEMA})", where=str(path), hint=hint)
    return found


def compare_with(
    path: Path, scorer: LoadedScorer, *, dtype: str, folder: Path | None = None
) -> Compared:
    """Score again what a golden file records and compare.

    Args:
        path: the golden file.
        scorer: who scores.
        dtype: precision it was loaded in.
        folder: where the files it names are; rows whose file is not there are left out.

    Returns:
        The scores, equal within the file's tolerance.

    Raises:
        DataError: a score differs, other weights, or no picture of it is here.
        UsageError: another scorer or precision.
    """
    golden = read_golden(path)
    _same_scorer(path, golden, scorer, dtype)
    known = {(each.image, each.sha256): each.content for each in built_in()}
    shown: list[Shown] = []
    absent: list[str] = []
    expected: list[float] = []
    for row in golden["rows"]:
        place = (row["image"], row["sha256"])
        content = known[place] if place in known else _file(folder, row)
        if content is None:
            absent.append(row["image"])
        else:
            told = {name: row[name] for name in ("image", "sha256", "prompt")}
            shown.append(Shown(**told, content=content))
            expected.append(row["score"])
    if not shown:
        hint = "name their folder with --images"
        raise DataError("none of its pictures is here", where=str(path), hint=hint)
    found = _scores(scorer, shown)
    gaps = [abs(a - b) for a, b in zip(expected, found, strict=True)]
    worst = max(range(len(gaps)), key=gaps.__getitem__)
    if gaps[worst] > golden["tolerance"]:
        what = (
            f"{shown[worst].image}, '{shown[worst].prompt}': {found[worst]:.6f}, recorded "
            f"{expected[worst]:.6f} with {golden['versions']}"
        )
        hint = f"{sum(gap > golden['tolerance'] for gap in gaps)} of {len(gaps)} differ"
        raise DataError(what, where=str(path), hint=hint)
    return Compared(
        rows=tuple(zip(expected, found, strict=True)),
        absent=tuple(dict.fromkeys(absent)),
        worst=gaps[worst],
        tolerance=golden["tolerance"],
    )


def _same_scorer(path: Path, golden: Mapping[str, Any], scorer: LoadedScorer, dtype: str) -> None:
    info = scorer.info
    recorded = f"{golden['scorer']}:{golden['variant']}".rstrip(":")
    if recorded != info.id or golden["dtype"] != dtype:
        what = f"is of {recorded} in {golden['dtype']}, not of {info.id} in {dtype}"
        hint = f"diffpref scorers check {recorded} --dtype {golden['dtype']} --golden {path}"
        raise UsageError(what, where=str(path), hint=hint)
    ours = {each.sha256 for each in info.weights}
    other = [each["file"] for each in golden["weights"] if each["sha256"] not in ours]
    if other:
        hint = "converted or re-hosted files hold the same numbers in other bytes: record your own"
        raise DataError(f"was recorded with another {other[0]}", where=str(path), hint=hint)


def _file(folder: Path | None, row: Mapping[str, Any]) -> Path | None:
    if folder is None or Path(row["image"]).name != row["image"]:
        return None
    file = folder / row["image"]
    return file if file.is_file() and sha256_of(file) == row["sha256"] else None


def _scores(scorer: LoadedScorer, shown: Sequence[Shown]) -> list[float]:
    """Score one by one, as the images may be of any sizes and a batch is no part of the record."""
    prompts = [each.prompt for each in shown]
    values = scorer.score([each.content for each in shown], prompts, batch_size=1).values
    if not bool(values.isfinite().all()):
        hint = "try --dtype fp32"
        what = "a score is not a finite number"
        raise DataError(what, where=f"scorer {scorer.info.id}", hint=hint)
    return [float(value) for value in values]


def _bytes(picture: Tensor) -> Tensor:
    return (picture * 255).round().to(torch.uint8)
