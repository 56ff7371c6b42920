"""What is on this machine for a scorer, and whether it works: facts of its weights, and a trial."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import file_digest
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from diffpref.errors import DataError
from diffpref.rewards.cards import Card, Part
from diffpref.rewards.model import ScoringModel
from diffpref.rewards.options import LoadOptions
from diffpref.rewards.resolve import ENDINGS, MissingWeightsError, find
from diffpref.rewards.scorer import LoadedScorer
from diffpref.rewards.state import State, read_state, weight_files
from diffpref.world.captions import parse
from diffpref.world.render import render
from diffpref.world.scene import sample_scenes

CAPTIONS = ("two red circles", "one blue square on the left", "three small triangles")
"""What the built-in pictures show, one each."""


@dataclass(frozen=True, kw_only=True)
class PartFacts:
    """What was found for one part.

    Attributes:
        part: its name.
        path: file or folder.
        files: files with their SHA-256; of a folder its weights, or all if it has none.
        dtypes: tensors per kind of number.
        numbers: floating-point numbers in them.
        published: how many the published model has; None if that is not checked.
    """

    part: str
    path: Path
    files: tuple[tuple[Path, str], ...]
    dtypes: Mapping[str, int]
    numbers: int
    published: int | None


@dataclass(frozen=True, kw_only=True)
class Trial:
    """Scores of the first two built-in pictures for the caption of the first.

    For a scorer that only compares: the probability that each is the one chosen.
    """

    prompt: str
    values: tuple[float, float]


def located(card: Card, variant: str, options: LoadOptions) -> list[tuple[Part, Path | None]]:
    """Return where each part of a variant is, or None; nothing is downloaded."""
    found: list[tuple[Part, Path | None]] = []
    told = replace(options, variant=variant)
    for part in card.needed(variant):
        try:
            found.append((part, find(card, part, told)))
        except MissingWeightsError:
            found.append((part, None))
    return found


def facts_of(card: Card, part: Part, options: LoadOptions) -> PartFacts:
    """Return what is found for a part, its files hashed and its tensors counted.

    Raises:
        MissingWeightsError: it is not on this machine.
        DataError: damaged.
        UnsafeFileError: a file that could run code.
    """
    path = find(card, part, options)
    files = _files(path)
    state: State = {}
    if files[0].suffix in ENDINGS:
        stored = read_state(path).state
        state = {name: value for name, value in stored.items() if not name.startswith(part.unread)}
    return PartFacts(
        part=part.name,
        path=path,
        files=tuple((file, sha256_of(file)) for file in files),
        dtypes=Counter(str(value.dtype).removeprefix("torch.") for value in state.values()),
        numbers=sum(value.numel() for value in state.values() if value.is_floating_point()),
        published=part.parameters,
    )


def pictures() -> Float[Tensor, "p 3 y x"]:
    """Return the built-in pictures in [0, 1], rounded to 8 bits; one per caption of CAPTIONS."""
    scenes = sample_scenes(0, torch.arange(len(CAPTIONS)), [parse(text) for text in CAPTIONS])
    return (render(scenes) * 255).round() / 255


def try_out(scorer: LoadedScorer) -> Trial:
    """Score two built-in pictures.

    Raises:
        DataError: a score is not a finite number.
    """
    shown, prompt = pictures()[:2], CAPTIONS[0]
    if isinstance(scorer.model, ScoringModel):
        values = scorer.score(shown, prompt).values
    else:
        values = scorer.compare(prompt, shown)
    if not bool(values.isfinite().all()):
        hint = "try --dtype fp32; if it stays so, fetch the weights again"
        what = f"scores of the built-in pictures are {values.tolist()}"
        raise DataError(what, where=f"scorer {scorer.info.id}", hint=hint)
    first, second = values.tolist()
    return Trial(prompt=prompt, values=(first, second))


def sha256_of(file: Path) -> str:
    """Return the SHA-256 of a file's content."""
    with file.open("rb") as stream:
        return file_digest(stream, "sha256").hexdigest()


def _files(path: Path) -> Sequence[Path]:
    if not path.is_dir():
        return (path,)
    try:
        return weight_files(path)
    except DataError:
        # A part may be a tokenizer or a config, without weights.
        found = sorted(each for each in path.iterdir() if each.is_file())
        if not found or any(each.suffix in ENDINGS for each in found):
            raise
        return found
