"""Win rates with their intervals: of a run's own validations, or of `evaluate winrate`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffpref.config.schema import RunConfig
from diffpref.errors import DataError
from diffpref.io import BadText, read_json
from diffpref.train.log import METRICS, read_metrics

_HINT = "give the winrate.json that `diffpref evaluate winrate A B --out FOLDER` writes"


@dataclass(frozen=True, kw_only=True)
class Rate:
    """How often the result's images score higher than those of `over`, and on how many prompts."""

    scorer: str
    rate: float
    low: float | None
    high: float | None
    prompts: int
    seeds: int
    by: str
    over: str = "its base"


def validated(run: Path, config: RunConfig, step: int | None = None) -> list[Rate]:
    """Return the win rates of a run's last validation, or of the one at a step."""
    path = run / METRICS
    if config.evaluate is None or not path.is_file():
        return []
    rows = [
        row
        for row in read_metrics(path)
        if any(name.startswith("win_rate/") for name in row) and step in {None, row["step"]}
    ]
    if not rows:
        return []
    last, how = rows[-1], config.evaluate
    return [
        Rate(
            scorer=scorer,
            rate=float(last[f"win_rate/{scorer}"]),
            low=last.get(f"win_rate_low/{scorer}"),
            high=last.get(f"win_rate_high/{scorer}"),
            prompts=how.n,
            seeds=len(how.seeds),
            by=f"validation at step {last['step']}, {how.sampler}, {how.steps} steps",
        )
        for scorer in how.scorers
        if f"win_rate/{scorer}" in last
    ]


def read_results(path: Path, model: Mapping[str, str]) -> list[Rate]:
    """Return the win rates of a winrate.json.

    Args:
        path: of the file.
        model: the facts of the model they must be of.

    Returns:
        One rate per scorer.

    Raises:
        DataError: it is missing, damaged, something else, or another model's.
    """
    try:
        found = read_json(path)
    except (BadText, OSError) as error:
        raise DataError("is no result of evaluate winrate", where=str(path), hint=_HINT) from error
    try:
        return _read(found, model, str(path))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        what = f"is no result of evaluate winrate: {error!r}"
        raise DataError(what, where=str(path), hint=_HINT) from error


def _read(found: Any, model: Mapping[str, str], where: str) -> list[Rate]:
    facts: Mapping[str, str] = found["facts"][found["a"]]
    for name in ("model", "run", "result", "lora"):  # its fingerprint depends on the precision
        if facts.get(name) != model.get(name):
            what = f"is of another model: its A has {name} {facts.get(name)}, not {model.get(name)}"
            hint = "measure this one: diffpref evaluate winrate RUN BASE --out FOLDER"
            raise DataError(what, where=where, hint=hint)
    seeds: Sequence[int] = found["seeds"]
    how = f"{facts['sampler']}, {facts['steps']} steps, guidance {facts['guidance']}"
    return [
        Rate(
            scorer=str(scorer),
            rate=float(rate["rate"]),
            low=float(rate["low"]),
            high=float(rate["high"]),
            prompts=int(rate["n"]),
            seeds=len(seeds),
            by=f"evaluate winrate, {how}",
            over=str(found["b"]),
        )
        for scorer, rate in found["rates"].items()
    ]
