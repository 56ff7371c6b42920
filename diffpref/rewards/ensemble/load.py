"""Loads the ensemble that a file describes, and its members."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from diffpref.errors import UsageError
from diffpref.rewards.cards import SCORERS
from diffpref.rewards.described import described_by, find_description, given_file
from diffpref.rewards.ensemble.model import EnsembleModel, Member
from diffpref.rewards.ensemble.plan import MemberPlan, Plan, read_plan
from diffpref.rewards.ensemble.sight import Together
from diffpref.rewards.ensemble.texts import TextOfPicture, read_captions
from diffpref.rewards.info import ScorerInfo, info_of
from diffpref.rewards.load import DTYPES, load_scorer
from diffpref.rewards.model import ScoringModel
from diffpref.rewards.options import LoadOptions
from diffpref.rewards.text import TextModel, load_text_scorer

FILE = "ensemble.yaml"


def load_ensemble(options: LoadOptions) -> EnsembleModel:
    """Return the ensemble of a file: `ensemble:FILE`, or `ensemble` with `weights=FILE`.

    Raises:
        UsageError: no file, or a member that only compares.
        ConfigError: the file is wrong.
    """
    card, where = SCORERS["ensemble"], "scorer ensemble"
    if options.variant:
        path = given_file(Path(options.variant).expanduser(), FILE, where)
    else:
        path = find_description(card, FILE, options)
    if path is None:
        hint = f"write ensemble:FILE, or put {FILE} into WEIGHTS_DIR/ensemble/"
        raise UsageError("no file says who its members are", where=where, hint=hint)
    plan = read_plan(path)
    members = tuple(_load_member(each, options) for each in plan.members)
    return EnsembleModel(info=_info(plan, members, options.variant), members=members)


def _load_member(plan: MemberPlan, options: LoadOptions) -> Member:
    told: dict[str, Any] = {
        "weights": plan.weights,
        "weights_dir": options.weights_dir,
        "device": str(options.device),
        "dtype": next(name for name, dtype in DTYPES.items() if dtype == options.dtype),
        "allow_download": options.allow_download,
        "published": options.published,
    }
    model = _of_texts(plan, told) if plan.text else load_scorer(plan.scorer, **told).model
    if not isinstance(model, ScoringModel):
        raise _only_compares(plan)
    return Member(model=model, weight=plan.weight, spread=plan.spread)


def _of_texts(plan: MemberPlan, told: dict[str, Any]) -> TextOfPicture:
    text = load_text_scorer(plan.scorer, **told).model
    if not isinstance(text, TextModel):
        raise _only_compares(plan)
    captions = None if plan.captions is None else read_captions(plan.captions)
    return TextOfPicture(text=text, ask=plan.ask, captions=captions)


def _only_compares(plan: MemberPlan) -> UsageError:
    hint = "a sum needs scores; leave it out"
    return UsageError(f"{plan.name} only compares", where="scorer ensemble", hint=hint)


def _info(plan: Plan, members: Sequence[Member], variant: str) -> ScorerInfo:
    infos = [member.model.info for member in members]
    terms = [
        f"{each.weight:g} ({info.id} - {each.spread.mean:g}) / {each.spread.std:g}"
        for each, info in zip(plan.members, infos, strict=True)
    ]
    sight = Together(sights=tuple(member.model.sight for member in members))
    info = info_of(
        SCORERS["ensemble"],
        preprocess_id=sight.id,
        tokenizer_id=" + ".join(dict.fromkeys(info.tokenizer_id for info in infos)),
        weights=(described_by(plan.path), *(ref for info in infos for ref in info.weights)),
    )
    return replace(
        info,
        variant=variant,
        scale=" + ".join(terms),
        differentiable=all(info.differentiable for info in infos),
        needs_prompt=any(info.needs_prompt for info in infos),
        temperature=plan.temperature,
    )
