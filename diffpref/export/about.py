"""The facts of a model card, gathered from a run folder: no prompt, no path, no person."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffpref.catalogue import find_method
from diffpref.config import RunConfig, load_config
from diffpref.evaluate.opened import Opened
from diffpref.evaluate.recorded import read_facts
from diffpref.evaluate.runs import CHECKPOINTS, CONFIG, STEP
from diffpref.export.licences import chain, licence_of_base, public_name, source_name
from diffpref.export.results import Rate, read_results, validated
from diffpref.export.strengths import strengths
from diffpref.io import BadText, read_json
from diffpref.papers import Method
from diffpref.train.manifest import open_checkpoint
from diffpref.train.store import Store

ENV = "env.json"


@dataclass(frozen=True, kw_only=True)
class About:
    """What is known of a result.

    Attributes:
        base, licence: of the base model; `hub` says whether `base` is an id on the hub.
        facts: of the opened model: fingerprint, revision, what was opened.
        config: of the run; None for BASE+LORA, whose training nobody recorded.
        method: the paper's.
        strengths: beta in every convention.
        data: counts and fingerprint, or nothing.
        rates: win rates over the base.
        licences: (what, name, licence) of everything it was made from.
        versions: of the packages it was trained with.
    """

    base: str
    hub: bool
    licence: str
    facts: Mapping[str, str]
    config: RunConfig | None = None
    method: Method | None = None
    strengths: tuple[tuple[str, str], ...] = ()
    data: Mapping[str, Any]
    rates: tuple[Rate, ...] = ()
    licences: tuple[tuple[str, str, str], ...] = ()
    versions: Mapping[str, str]


def about(opened: Opened, *, results: Path | None = None, licence: str | None = None) -> About:
    """Gather what a card says of an opened model.

    Args:
        opened: of a run, or BASE+LORA.
        results: a winrate.json to report, instead of the run's own last validation.
        licence: of the result; the base's if absent.

    Returns:
        The facts.

    Raises:
        DataError: a file of the run, or of results, is damaged.
    """
    rates = () if results is None else tuple(read_results(results, opened.facts))
    if opened.run is None:
        source = opened.bundle.source
        return About(
            base=public_name(source),
            hub=_is_hub(source),
            licence=licence or licence_of_base(source),
            facts=opened.facts,
            data={},
            rates=rates,
            licences=(("base model", public_name(source), licence_of_base(source)),),
            versions={},
        )
    config, known = load_config(opened.run / CONFIG), read_facts(opened.run)
    return About(
        base=public_name(config.model.base),
        hub=_is_hub(config.model.base),
        licence=licence or licence_of_base(config.model.base),
        facts=opened.facts,
        config=config,
        method=find_method(config.method.name),
        strengths=tuple(strengths(config, known.get("latent_numbers"))),
        data=_data(opened.run, config, known),
        rates=rates or tuple(_validated(opened, opened.run, config)),
        licences=tuple(chain(config)),
        versions=_versions(opened.run),
    )


def _data(run: Path, config: RunConfig, known: Mapping[str, Any]) -> dict[str, Any]:
    """Return counts where the run recorded them; the fingerprint is in every checkpoint too."""
    counts = known.get("data") or known.get("rollouts") or {}
    found = {"fingerprint": _fingerprint(run), **counts}
    if config.data is not None:
        found |= {
            "source": source_name(config.data.source),
            "split": config.data.split,
            "ties_are": config.data.ties,
        }
    return {name: value for name, value in found.items() if value is not None}


def _fingerprint(run: Path) -> str | None:
    for path in sorted((run / CHECKPOINTS).glob("step-*"), reverse=True):
        found = open_checkpoint(path).identity.get("data")
        return None if found is None else str(found)
    return None


def _validated(opened: Opened, run: Path, config: RunConfig) -> list[Rate]:
    """Return what the run measured of these weights: of an average, if it keeps one."""
    raw = STEP in opened.facts and opened.facts["result"].startswith("weights")
    return [] if raw and config.ema is not None else validated(run, config, _step(opened, config))


def _step(opened: Opened, config: RunConfig) -> int | None:
    """Return the step whose validation is this model's; None for the last one."""
    if STEP in opened.facts:
        return int(opened.facts[STEP])
    if config.save.best_by is None or opened.run is None:
        return None
    best = Store(opened.run / CHECKPOINTS).best()
    return None if best is None else best.step


def _versions(run: Path) -> dict[str, str]:
    if not (run / ENV).is_file():
        return {}
    try:
        found: Any = read_json(run / ENV)
        return {str(name): str(value) for name, value in found["versions"].items()}
    except (BadText, KeyError, AttributeError, TypeError):
        return {}


def _is_hub(base: str) -> bool:
    return "/" in base and not base.startswith((".", "/", "~")) and not Path(base).exists()
