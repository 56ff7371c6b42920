"""An ensemble of `train-reward --head ensemble` as a scoring model, with its members.

Beyond a member's range its term is flat, so no gradient comes from there.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from diffpref.errors import DataError, UsageError
from diffpref.rewards.cards import SCORERS
from diffpref.rewards.described import described_by
from diffpref.rewards.ensemble.model import EnsembleModel, Member
from diffpref.rewards.heads.calibrate import Ensemble, load_ensemble
from diffpref.rewards.heads.embeddings import fingerprint
from diffpref.rewards.info import ScorerInfo, WeightRef, info_of
from diffpref.rewards.model import ScoringModel
from diffpref.rewards.options import LoadOptions
from diffpref.types import PerRow


@dataclass(frozen=True, kw_only=True)
class Range:
    """The scores that are 0 and 1; beyond them they are clipped."""

    low: float
    high: float

    def unit(self, scores: PerRow) -> PerRow:
        """Return scores in 0..1; of a scorer that never varied they are 0."""
        width = self.high - self.low
        if width <= 0:
            return scores * 0
        return (scores.clamp(self.low, self.high) - self.low) / width


def load_combined(file: Path, options: LoadOptions) -> EnsembleModel:
    """Load the ensemble of a file and every scorer it weighs.

    Raises:
        DataError: the file is damaged, or a member's weights are others than those weighed.
        UsageError: a member gives no scores.
    """
    from diffpref.rewards.load import load_scorer

    ensemble = load_ensemble(file)
    models: list[ScoringModel] = []
    for number, name in enumerate(ensemble.scorers):
        scorer = load_scorer(
            name,
            weights_dir=options.weights_dir,
            allow_download=options.allow_download,
            published=options.published,
        )
        _same_weights(ensemble, number, scorer.info, file)
        model = scorer.to(options.device, options.dtype).model
        if not isinstance(model, ScoringModel):
            hint = "weigh scorers that score single pictures"
            raise UsageError(f"{name} only compares", where=str(file), hint=hint)
        models.append(model)
    ranges = [Range(low=a, high=b) for a, b in zip(ensemble.low, ensemble.high, strict=True)]
    members = tuple(
        Member(model=model, weight=weight, spread=spread)
        for model, weight, spread in zip(models, ensemble.weights, ranges, strict=True)
    )
    told = replace(described_by(file), layout="head")
    return EnsembleModel(info=_info(ensemble, [m.info for m in models], told), members=members)


def _same_weights(ensemble: Ensemble, number: int, info: ScorerInfo, file: Path) -> None:
    if ensemble.fingerprints and ensemble.fingerprints[number] != fingerprint(info):
        hint = "load them with the weights they were weighed with, or calibrate again"
        what = f"was calibrated with other weights of {ensemble.scorers[number]}"
        raise DataError(what, where=str(file), hint=hint)


def _info(ensemble: Ensemble, infos: Sequence[ScorerInfo], told: WeightRef) -> ScorerInfo:
    terms = [f"{w:g} {n}" for w, n in zip(ensemble.weights, ensemble.scorers, strict=True)]
    info = info_of(
        SCORERS["head"],
        preprocess_id=" + ".join(dict.fromkeys(each.preprocess_id for each in infos)),
        tokenizer_id=" + ".join(dict.fromkeys(each.tokenizer_id for each in infos)),
        weights=(told, *(ref for each in infos for ref in each.weights)),
    )
    return replace(
        info,
        scale=f"{' + '.join(terms)}, each over its range: a difference of scores is the log odds "
        "of being preferred",
        range_hint=(0.0, max(sum(ensemble.weights), 1e-6)),
        licence="those of its members",
        differentiable=all(each.differentiable for each in infos),
        needs_prompt=any(each.needs_prompt for each in infos),
    )
