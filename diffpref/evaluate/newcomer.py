"""A person of the bundled world whom nobody has met: they vote, and judge by their true utility."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from diffpref.assets import assets_root
from diffpref.data.records import Record
from diffpref.data.writers import image_of, write_jsonl
from diffpref.draws import generator
from diffpref.io import open_image, read_json
from diffpref.rewards import LoadedScorer, load_scorer
from diffpref.rewards.inputs import to_pixels
from diffpref.rewards.world import OracleModel
from diffpref.world.crowd import CROWD
from diffpref.world.people import Person, choice_probability, people, utility

JUDGE = "person-utility"
"""What reports call the judge: the exact utility of the simulated person."""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A picture file and the prompt it was made for."""

    file: Path
    prompt: str


def newcomer(number: int = 0) -> Person:
    """Return a person drawn like the bundled people, after the last of them: in no one's data."""
    manifest = read_json(assets_root() / "manifest.json")
    assert isinstance(manifest, dict)  # the assets are ours
    return people(int(manifest["seed"]), CROWD + number + 1)[CROWD + number]


def vote(
    person: Person, pairs: Sequence[tuple[Shown, Shown]], folder: Path, *, seed: int = 0
) -> Path:
    """Let a person vote, noise and lapses included, and write the votes as `rate` would.

    Args:
        person: who votes.
        pairs: of one prompt each.
        folder: where pictures and votes go.
        seed: of the noise.

    Returns:
        The jsonl file.
    """
    rng = generator(seed, 0, "newcomer/vote")
    rows: list[Record] = []
    for one, two in pairs:
        first, second = (float(_worth(person, each)) for each in (one, two))
        chance = choice_probability(person, torch.tensor([first]), torch.tensor([second]))
        won = bool(torch.rand(1, generator=rng) < chance)
        images = tuple(image_of(each.file.read_bytes()) for each in (one, two))
        scores = (1.0, 0.0) if won else (0.0, 1.0)
        rows.append(Record(prompt=one.prompt, images=images, scores=scores))
    return write_jsonl(folder, rows)


def true_judge(person: Person) -> LoadedScorer:
    """Return the person's exact utility as a scorer."""
    plain = load_scorer("world-oracle").model
    scale = "exact utility of the simulated person: own taste - 2 (1 - fidelity)"
    info = replace(plain.info, name=JUDGE, scale=scale)
    return LoadedScorer(OracleModel(info=info, measure=partial(utility, taste=person.taste)))


def _worth(person: Person, shown: Shown) -> torch.Tensor:
    picture = open_image(shown.file, where=shown.file.name)
    return utility(torch.stack(to_pixels([picture])), (shown.prompt,), person.taste)[0]
