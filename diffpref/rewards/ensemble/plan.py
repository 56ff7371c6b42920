"""The file that describes an ensemble.

    temperature: 1.0        # of choices, in units of the sum; 1.0 if absent
    fit: labels.jsonl       # a table of `diffpref label pairs`: mean and std of its scorers
    members:
      - scorer: pickscore   # any scorer but another ensemble and those that only compare
        weight: 1.0
        mean: 21.5          # of the member's scores; with `fit` from the table
        std: 1.4
        weights: FOLDER     # weights of its own
      - scorer: text:skywork-reward:v2-qwen3-0.6b
        weight: 0.5
        mean: 0.0
        std: 10.0
        ask: "Describe a picture: {prompt}"   # what the text scorer is told; else the prompt
        captions: captions.jsonl              # the response is the picture's; else the prompt

Paths are relative to the file. There is no normalisation by default: scores of different scorers
have no common unit, so mean and std are said or fitted.
"""

from dataclasses import dataclass
from pathlib import Path

from diffpref.rewards.ensemble.fit import Spread, read_spreads
from diffpref.rewards.fields import Fields, read_fields

TEXT = "text:"
PLACEHOLDER = "{prompt}"


@dataclass(frozen=True, kw_only=True)
class MemberPlan:
    """One line of the sum: weight x (score - mean) / std.

    Attributes:
        scorer: its name; of a text scorer what follows `text:`.
        text: it is a text scorer.
        weight: may be negative.
        spread: mean and std.
        weights: file or folder of its own weights.
        ask: of a text scorer: what it is told, with {prompt}.
        captions: of a text scorer: file of the pictures' captions.
    """

    scorer: str
    text: bool
    weight: float
    spread: Spread
    weights: str | None
    ask: str
    captions: Path | None

    @property
    def name(self) -> str:
        """Return the name as the file has it."""
        return (TEXT if self.text else "") + self.scorer


@dataclass(frozen=True, kw_only=True)
class Plan:
    """An ensemble as its file says it."""

    members: tuple[MemberPlan, ...]
    temperature: float
    path: Path


def read_plan(path: Path) -> Plan:
    """Read an ensemble's file.

    Raises:
        ConfigError: a field is wrong or missing.
        DataError: the table it is fitted on cannot be used.
    """
    told = read_fields(path)
    fit = told.text("fit", "")
    spreads = read_spreads(_beside(path, fit)) if fit else {}
    members = tuple(_member(each, path, spreads) for each in told.items("members"))
    temperature = told.number("temperature", 1.0, above=0.0)
    told.done()
    return Plan(members=members, temperature=temperature, path=path)


def _member(told: Fields, path: Path, spreads: dict[str, Spread]) -> MemberPlan:
    name = told.text("scorer")
    text = name.startswith(TEXT)
    if name.partition(":")[0] == "ensemble":
        hint = "write the members of the other ensemble out"
        raise told.wrong("scorer", "is an ensemble itself", hint)
    weights, captions = told.text("weights", ""), told.text("captions", "")
    plan = MemberPlan(
        scorer=name.removeprefix(TEXT),
        text=text,
        weight=told.number("weight", 1.0),
        spread=_spread(told, name, spreads),
        weights=str(_beside(path, weights)) if weights else None,
        ask=told.text("ask", PLACEHOLDER),
        captions=_beside(path, captions) if captions else None,
    )
    if not text and (told.has("ask") or captions):
        raise told.wrong("ask" if told.has("ask") else "captions", "is for text scorers", "drop it")
    if PLACEHOLDER not in plan.ask:
        raise told.wrong("ask", "names no prompt", f"write {PLACEHOLDER} where the prompt goes")
    told.done()
    return plan


def _spread(told: Fields, name: str, spreads: dict[str, Spread]) -> Spread:
    if told.has("mean") or told.has("std") or name not in spreads:
        hint = "say mean and std of its scores, or fit them: fit: TABLE"
        if not (told.has("mean") and told.has("std")):
            lost = "std" if told.has("mean") else "mean"
            raise told.wrong(lost, f"is missing for {name}", hint)
        return Spread(mean=told.number("mean"), std=told.number("std", above=0.0))
    return spreads[name]


def _beside(path: Path, name: str) -> Path:
    return path.parent / Path(name).expanduser()
