"""`diffpref scorers check`: whether the weights that are here make a scorer that works."""

from collections.abc import Mapping
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from diffpref.cli import sample_options as sampling
from diffpref.cli import scorer_options as options
from diffpref.cli.app import write_columns, write_json
from diffpref.errors import DiffprefError

if TYPE_CHECKING:
    from diffpref.rewards import LoadedScorer

Golden = Annotated[
    Path | None,
    typer.Option("--golden", help="Compare with the scores of this file of `scorers capture`."),
]
Pictures = Annotated[
    Path | None, typer.Option("--images", help="The folder of the pictures a golden file names.")
]


def check(
    name: options.Name,
    *,
    weights_dir: options.WeightsDir = None,
    weights: options.Weights = None,
    any_size: options.AnySize = False,
    golden: Golden = None,
    images: Pictures = None,
    dtype: options.Dtype = "fp32",
    device: sampling.Device = "auto",
    json: sampling.Json = False,
) -> None:
    """Say what is here for a scorer, load it and score a built-in picture.

    Exits with 0 only if the scorer can be used: all files found and sound, every key in its place,
    as many numbers as published, finite scores, and equal to the golden file if one is given.
    """
    from diffpref.config.fits import auto_device

    found: dict[str, Any] = {"scorer": name, "usable": False}
    try:
        found["parts"] = _parts(name, weights_dir, weights)
        started = perf_counter()
        (scorer,) = options.load_scorers(
            [name],
            auto_device(device),
            weights=weights,
            weights_dir=weights_dir,
            dtype=dtype,
            any_size=any_size,
        )
        found |= _loaded(scorer, perf_counter() - started)
        if golden is not None:
            found["golden"] = _golden(golden, scorer, dtype, images)
        found["usable"] = True
    except DiffprefError as error:
        found["problem"] = str(error)
        _tell(found, json)
        raise
    _tell(found, json)


def _parts(name: str, weights_dir: Path | None, weights: list[str] | None) -> list[dict[str, Any]]:
    """Return what is found of each part; a scorer of a plugin shows nothing before it is loaded."""
    from diffpref.rewards import SCORERS, LoadOptions
    from diffpref.rewards.examine import facts_of

    plain, _, variant = name.partition(":")
    if plain not in SCORERS:
        return []
    card = SCORERS[plain]
    told = LoadOptions(
        variant=card.variant(variant),
        weights=options.weights_of(weights, [name]).get(plain),
        weights_dir=None if weights_dir is None else weights_dir.expanduser(),
    )
    found: list[dict[str, Any]] = []
    for part in card.needed(told.variant):
        facts = facts_of(card, part, told)
        found.append(
            {
                "part": facts.part,
                "path": str(facts.path),
                "files": {str(file): digest for file, digest in facts.files},
                "dtypes": dict(facts.dtypes),
                "numbers": facts.numbers,
                "published": facts.published,
            }
        )
    return found


def _loaded(scorer: "LoadedScorer", seconds: float) -> dict[str, Any]:
    from diffpref.rewards.examine import try_out

    trial = try_out(scorer)
    return {
        "id": scorer.info.id,
        "weights": [
            {"file": each.file, "sha256": each.sha256, "layout": each.layout}
            for each in scorer.info.weights
        ],
        "keys": "none missing, none unexpected" if scorer.info.weights else "none needed",
        "seconds_to_load": round(seconds, 2),
        "trial": {"prompt": trial.prompt, "scores": list(trial.values)},
    }


def _golden(path: Path, scorer: "LoadedScorer", dtype: str, images: Path | None) -> dict[str, Any]:
    from diffpref.rewards.golden import compare_with

    result = compare_with(path, scorer, dtype=dtype, folder=images)
    return {
        "file": str(path),
        "compared": len(result.rows),
        "not_found": list(result.absent),
        "worst": result.worst,
        "tolerance": result.tolerance,
    }


def _tell(found: Mapping[str, Any], json: bool) -> None:
    if json:
        write_json(found)
        return
    rows = [("scorer", found.get("id", found["scorer"]))]
    for part in found.get("parts", ()):
        rows += _part_rows(part)
    for each in found.get("weights", ()):
        rows.append(
            ("layout", f"{each['layout']}  {each['file']}  sha256 {each['sha256'][:12]}...")
        )
    if "trial" in found:
        first, second = found["trial"]["scores"]
        rows += [
            ("keys", found["keys"]),
            ("loaded in", f"{found['seconds_to_load']:.2f} s"),
            ("trial", f"'{found['trial']['prompt']}': {first:.4f}; another picture: {second:.4f}"),
        ]
    if "golden" in found:
        told = found["golden"]
        said = f"{told['compared']} equal, worst difference {told['worst']:.2g}"
        rows.append(("golden", f"{said}; not found: {', '.join(told['not_found']) or 'none'}"))
    rows.append(("usable", "yes" if found["usable"] else "no"))
    write_columns(rows)


def _part_rows(part: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = [("part", f"{part['part']}: {part['path']}")]
    rows += [("sha256", f"{digest}  {Path(file).name}") for file, digest in part["files"].items()]
    if part["dtypes"]:
        kinds = ", ".join(f"{count} {kind}" for kind, count in part["dtypes"].items())
        published = f" (published {part['published']:,})" if part["published"] else ""
        rows += [("tensors", kinds), ("numbers", f"{part['numbers']:,}{published}")]
    return rows
