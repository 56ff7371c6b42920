"""`diffpref scorers check`: whether the weights that are here make a scorer that works."""

from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from diffpref.cli import sample_options as sampling
from diffpref.cli import scorer_options as options
from diffpref.cli.scorer_cards import all_cards, is_text
from diffpref.cli.scorer_verdict import tell
from diffpref.errors import DiffprefError, UsageError

if TYPE_CHECKING:
    from diffpref.rewards import LoadedScorer, ScorerInfo

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
    A scorer of text is tried on two built-in responses.
    """
    from diffpref.config.fits import auto_device

    found: dict[str, Any] = {"scorer": name, "usable": False}
    try:
        chosen = _Choice(
            name=name,
            weights=weights,
            weights_dir=None if weights_dir is None else weights_dir.expanduser(),
            any_size=any_size,
            dtype=dtype,
            device=auto_device(device),
        )
        found["parts"] = chosen.parts()
        if is_text(name):
            found |= chosen.try_text(golden)
        else:
            scorer, seconds = chosen.load()
            found |= _tried(scorer, seconds)
            if golden is not None:
                found["golden"] = _golden(golden, scorer, dtype, images)
        found["usable"] = True
    except DiffprefError as error:
        found["problem"] = str(error)
        tell(found, json)
        raise
    tell(found, json)


@dataclass(frozen=True, kw_only=True)
class _Choice:
    """A scorer and how it is to be loaded."""

    name: str
    weights: list[str] | None
    weights_dir: Path | None
    any_size: bool
    dtype: str
    device: str

    @property
    def plain(self) -> str:
        return self.name.partition(":")[0]

    def parts(self) -> list[dict[str, Any]]:
        """Return what is found of each part; of a plugin nothing is known before it is loaded."""
        from diffpref.rewards import LoadOptions
        from diffpref.rewards.examine import facts_of

        cards = all_cards()
        if self.plain not in cards:
            return []
        card = cards[self.plain]
        told = LoadOptions(
            variant=card.variant(self.name.partition(":")[2]),
            weights=self._own(),
            weights_dir=self.weights_dir,
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

    def load(self) -> "tuple[LoadedScorer, float]":
        """Return a scorer of images, and the seconds it took to load."""
        started = perf_counter()
        (scorer,) = options.load_scorers(
            [self.name],
            self.device,
            weights=self.weights,
            weights_dir=self.weights_dir,
            dtype=self.dtype,
            any_size=self.any_size,
        )
        return scorer, perf_counter() - started

    def try_text(self, golden: Path | None) -> dict[str, Any]:
        """Load a scorer of text and score two responses.

        Raises:
            UsageError: a golden file is given, which is of pictures.
        """
        from diffpref.rewards.text.trial import PROMPT, try_text

        if golden is not None:
            hint = "leave --golden out"
            raise UsageError("golden files are of images", where=self.name, hint=hint)
        started = perf_counter()
        how = options.Loading(
            device=self.device,
            weights=options.weights_of(self.weights, [self.name]),
            weights_dir=self.weights_dir,
            dtype=self.dtype,
            any_size=self.any_size,
        )
        scorer = how.text_scorer(self.name)
        seconds = perf_counter() - started
        trial = {"prompt": PROMPT, "scores": list(try_text(scorer)), "against": "a worse answer"}
        return {**_identity(scorer.info, seconds), "trial": trial}

    def _own(self) -> dict[str, str] | str | None:
        return options.weights_of(self.weights, [self.name]).get(self.plain)


def _tried(scorer: "LoadedScorer", seconds: float) -> dict[str, Any]:
    from diffpref.rewards.examine import try_out

    trial = try_out(scorer)
    told = {"prompt": trial.prompt, "scores": list(trial.values), "against": "another picture"}
    return {**_identity(scorer.info, seconds), "trial": told}


def _identity(info: "ScorerInfo", seconds: float) -> dict[str, Any]:
    return {
        "id": info.id,
        "weights": [
            {"file": each.file, "sha256": each.sha256, "layout": each.layout}
            for each in info.weights
        ],
        "keys": "none missing, none unexpected" if info.weights else "none needed",
        "seconds_to_load": round(seconds, 2),
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
