"""What a judge is told: our own short instructions, published ones, or the user's.

Published instructions are not shipped: they are read from the user's folder and must be the
published text, by SHA-256.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from math import nan
from pathlib import Path
from types import MappingProxyType

from diffpref.errors import DataError, UsageError
from diffpref.rewards.judge.verdicts import (
    Reading,
    better,
    score_up_to,
    unified_better,
    without_thoughts,
)

PLACEHOLDER = "{prompt}"
MAX_BYTES = 100_000


@dataclass(frozen=True, kw_only=True)
class Instructions:
    """A text with {prompt} where the prompt goes, and how its answers are read.

    `low` and `high` bound a score; of a comparison the reading is the chance of the first picture:
    1, 0 or 1/2.
    """

    name: str
    text: str
    reading: Reading
    low: float
    high: float

    @property
    def sha256(self) -> str:
        return sha256(self.text.encode()).hexdigest()

    def about(self, prompt: str) -> str:
        """Return the text for a prompt."""
        return self.text.replace(PLACEHOLDER, prompt)

    def read(self, answer: str) -> float:
        """Return the verdict of an answer, NaN if it has none or one out of bounds."""
        value = self.reading(without_thoughts(answer))
        return value if self.low <= value <= self.high else nan


POINTWISE = Instructions(
    name="diffpref-pointwise/1",
    text="""The picture was made from this prompt:
{prompt}

Judge how much the person who wrote the prompt would like the picture. Look at two things: whether \
it shows everything the prompt asks for and nothing that contradicts it, and whether it is well \
made, without blur, broken shapes or other flaws. Say in one sentence what decides your verdict. \
Then write a last line of the form
Score: NUMBER
where NUMBER lies between 0 (useless) and 10 (perfect).""",
    reading=score_up_to(10.0),
    low=0.0,
    high=10.0,
)

PAIRWISE = Instructions(
    name="diffpref-pairwise/1",
    text="""Two pictures were made from this prompt; the first one shown is 1, the second is 2:
{prompt}

Judge which of them the person who wrote the prompt would choose. Look at two things: whether a \
picture shows everything the prompt asks for and nothing that contradicts it, and whether it is \
well made, without blur, broken shapes or other flaws. Say in one sentence what decides your \
verdict. Then write a last line of one of these forms
Better: 1
Better: 2
Better: tie""",
    reading=better,
    low=0.0,
    high=1.0,
)

OURS: Mapping[str, Instructions] = MappingProxyType({"pointwise": POINTWISE, "pairwise": PAIRWISE})


@dataclass(frozen=True, kw_only=True)
class Published:
    """Instructions that exist elsewhere: the file they are expected in, and who they are."""

    file: str
    sha256: str
    reading: Reading
    low: float
    high: float
    origin: str


_ORIGIN = "the inference script {} of CodeGoat24/UnifiedReward, with {{prompt}} for the caption"

PUBLISHED: Mapping[str, Mapping[str, Published]] = MappingProxyType(
    {
        "unifiedreward": {
            "pointwise": Published(
                file="unifiedreward-pointwise.txt",
                sha256="f56f919ce3bc6aab3c173a5f836defe195e17e9614753e8b4c3dc2405bd4975b",
                reading=score_up_to(5.0),
                low=1.0,
                high=5.0,
                origin=_ORIGIN.format("qwen_point_score_image_generation.py"),
            ),
            "pairwise": Published(
                file="unifiedreward-pairwise.txt",
                sha256="0fd2f5c43a06516503fde3e64ffc98fff6f3a8815b5eac8dc5f0d81cee686614",
                reading=unified_better,
                low=0.0,
                high=1.0,
                origin=_ORIGIN.format("qwen_pair_rank_image_generation.py"),
            ),
        }
    }
)


def published_instructions(name: str, variant: str, folder: Path) -> Instructions:
    """Read published instructions from a folder and check that they are the published text.

    White space around the text is not part of it.

    Raises:
        DataError: the file is missing or holds another text.
    """
    known = PUBLISHED[name][variant]
    path = folder / known.file
    if not path.is_file():
        hint = f"copy the text from {known.origin}"
        raise DataError("there are no such instructions", where=str(path), hint=hint)
    text = _text_of(path)
    if sha256(text.encode()).hexdigest() != known.sha256:
        hint = f"copy it exactly from {known.origin}; its SHA-256 is {known.sha256}"
        raise DataError("this is not the published text", where=str(path), hint=hint)
    return Instructions(
        name=f"{name}-{variant}",
        text=text,
        reading=known.reading,
        low=known.low,
        high=known.high,
    )


def own_instructions(path: Path, variant: str, low: float, high: float) -> Instructions:
    """Read a user's instructions; the answer's form is that of ours.

    Raises:
        DataError: the file cannot be read or has no {prompt}.
        UsageError: the bounds are none.
    """
    if not low < high:
        hint = "a score lies between low and high"
        raise UsageError(f"low is {low:g} and high {high:g}", where=str(path), hint=hint)
    text = _text_of(path)
    if PLACEHOLDER not in text:
        hint = f"write {PLACEHOLDER} where the prompt goes"
        raise DataError("the instructions name no prompt", where=str(path), hint=hint)
    ours = OURS[variant]
    pairs = variant == "pairwise"
    return Instructions(
        name=path.name,
        text=text,
        reading=ours.reading if pairs else score_up_to(high),
        low=ours.low if pairs else low,
        high=ours.high if pairs else high,
    )


def _text_of(path: Path) -> str:
    try:
        data = path.read_bytes()
        if len(data) <= MAX_BYTES:
            return data.decode("utf-8-sig").replace("\r\n", "\n").strip()
        why = f"{len(data)} bytes are more than instructions have"
    except (OSError, UnicodeDecodeError) as error:
        why = f"cannot be read: {error}"
    raise DataError(why, where=str(path), hint="give a text file in UTF-8")
