"""Loads the judge that a file or the environment describes.

The file is `weights=FILE`, WEIGHTS_DIR/vlm-judge/judge.yaml or $DIFFPREF_WEIGHTS/vlm-judge/
judge.yaml; all of its fields may be left out:

    url: http://127.0.0.1:8000/v1     # else $DIFFPREF_JUDGE_URL
    model: qwen2.5-vl                 # else $DIFFPREF_JUDGE_MODEL
    key_variable: DIFFPREF_JUDGE_KEY  # environment variable with the key; a key is never in a file
    instructions: unifiedreward       # published ones, or a text file with {prompt}; else ours
    low: 0                            # bounds of the score, for a text file of your own
    high: 10
    temperature: 0
    max_tokens: 512
    timeout: 120                      # seconds
    retries: 4
    workers: 4                        # requests at once
    cache: none                       # folder of the answers; else $DIFFPREF_JUDGE_CACHE, else
                                      # ~/.cache/diffpref/judge
    extra: {}                         # more fields of the request; null takes one out
"""

import os
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from diffpref.rewards.cards import SCORERS
from diffpref.rewards.described import find_description
from diffpref.rewards.endpoint import Endpoint, endpoint_of
from diffpref.rewards.fields import Fields, read_fields
from diffpref.rewards.info import ScorerInfo, WeightRef, info_of
from diffpref.rewards.judge.desk import Desk
from diffpref.rewards.judge.instructions import (
    OURS,
    PUBLISHED,
    Instructions,
    own_instructions,
    published_instructions,
)
from diffpref.rewards.judge.model import PairwiseJudge, PointwiseJudge
from diffpref.rewards.options import LoadOptions
from diffpref.rewards.pictures import AS_IT_IS

FILE = "judge.yaml"
VARIABLES = "DIFFPREF_JUDGE"
NO_CACHE = "none"


def load_judge(options: LoadOptions) -> PointwiseJudge | PairwiseJudge:
    """Return the judge in the variant asked for.

    Raises:
        UsageError: nothing says where it is.
        ConfigError: its file is wrong.
        DataError: its instructions are missing or another text.
    """
    card = SCORERS["vlm-judge"]
    path = find_description(card, FILE, options)
    told = read_fields(path) if path is not None else Fields({}, f"scorer {card.name}")
    endpoint = endpoint_of(told, VARIABLES, f"scorer {card.name}")
    instructions = _instructions(told, options.variant, path)
    sampling = {
        "temperature": told.number("temperature", 0.0),
        "max_tokens": told.whole("max_tokens", 512, least=1),
    }
    folder = _cache(told)
    told.done()
    who = sha256(f"{endpoint.id}{instructions.sha256}{sampling}".encode()).hexdigest()
    desk = Desk(
        endpoint,
        instructions,
        sampling=sampling,
        journal=None if folder is None else folder / f"{who[:32]}.jsonl",
    )
    info = _info(options.variant, endpoint, instructions, who)
    if options.variant == "pairwise":
        return PairwiseJudge(info=info, desk=desk)
    return PointwiseJudge(info=info, desk=desk)


def _instructions(told: Fields, variant: str, path: Path | None) -> Instructions:
    name, ours = told.text("instructions", ""), OURS[variant]
    beside = path.parent if path is not None else Path()
    if name and name not in PUBLISHED:
        low, high = told.number("low", ours.low), told.number("high", ours.high)
        return own_instructions(beside / Path(name).expanduser(), variant, low, high)
    return published_instructions(name, variant, beside) if name else ours


def _cache(told: Fields) -> Path | None:
    said = told.text("cache", os.environ.get(f"{VARIABLES}_CACHE", ""))
    if said == NO_CACHE:
        return None
    if said:
        return Path(said).expanduser()
    home = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(home) if home else Path.home() / ".cache") / "diffpref" / "judge"


def _info(variant: str, endpoint: Endpoint, instructions: Instructions, who: str) -> ScorerInfo:
    """Say who judges: the model's name and the whole judge, then the instructions, by content."""
    info = info_of(
        SCORERS["vlm-judge"],
        variant=variant,
        preprocess_id=f"png/{AS_IT_IS.id}",
        weights=(
            WeightRef(file=endpoint.model, sha256=who, layout="endpoint"),
            WeightRef(file=instructions.name, sha256=instructions.sha256, layout="instructions"),
        ),
    )
    kind = "pairwise" if variant == "pairwise" else info.kind
    return replace(info, kind=kind, range_hint=(instructions.low, instructions.high))
