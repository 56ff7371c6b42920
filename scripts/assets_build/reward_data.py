"""What the bundled reward learns from: captioned scenes, and votes on scenes of one prompt."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from diffpref.draws import generator
from diffpref.world.captions import Statement, caption, sample_names, sample_statements
from diffpref.world.oracle import fidelity
from diffpref.world.people import FIDELITY_WEIGHT, Person, choice_probability
from diffpref.world.render import render
from diffpref.world.scene import ATTRIBUTES, sample_scenes
from diffpref.world.splits import split_of
from diffpref.world.taste import attributes
from scripts.assets_build.pairs import crowd, load_votes
from scripts.assets_build.vae import pixels

SEED = 14
SCENES = 20_000
GROUPS = 4_000
IMAGES = 4
SLIPS = 0.35
"""How often a rendered picture gets one stated attribute wrong, as a model's pictures do."""

VOTERS = 8
"""People who vote on each rendered pair; their share is the label."""

UNSTATED = -1
_NAMES = list(ATTRIBUTES)


@dataclass(frozen=True, kw_only=True)
class Scenes:
    """Rendered scenes with a true caption each and one that is wrong in one attribute.

    `named`, `stated` and `wrong` are attribute indices; UNSTATED where a caption is silent.
    `usable` marks wrong captions of the train split; all true ones are.
    """

    images: UInt8[Tensor, "n 3 y x"]
    named: Int[Tensor, "n a"]
    captions: list[str]
    stated: Int[Tensor, "n a"]
    wrong_captions: list[str]
    wrong: Int[Tensor, "n a"]
    usable: Bool[Tensor, " n"]


@dataclass(frozen=True, kw_only=True)
class Voted:
    """Pairs of pictures of one prompt: rows of (prompt, first, second) and the share for first."""

    images: UInt8[Tensor, "p k 3 y x"]
    prompts: list[str]
    rows: Int[Tensor, "n 3"]
    share: Float[Tensor, " n"]


def captioned_scenes() -> Scenes:
    """Render scenes and caption each with a caption of the train split."""
    positions = torch.arange(40_000_000, 40_000_000 + SCENES)
    scenes = sample_scenes(SEED, positions)
    words = [scenes.words(row) for row in range(SCENES)]
    kept, stated = _train_statements(words, positions)
    rng = generator(SEED, 0, "wrong")
    wrong = [altered(statement, rng) for statement in stated]
    wrong_captions = [caption(statement) for statement in wrong]
    return Scenes(
        images=pixels(SEED, positions[kept]),
        named=torch.stack([scenes.named[name][kept] for name in _NAMES], dim=1),
        captions=[caption(statement) for statement in stated],
        stated=indices(stated),
        wrong_captions=wrong_captions,
        wrong=indices(wrong),
        usable=torch.tensor([split_of(text) == "train" for text in wrong_captions]),
    )


def bundled_votes(work: Path) -> Voted:
    """Return the votes on the base's own samples that ship as builtin:pairs, train split."""
    images, prompts, rows = load_votes(work, "train")
    return Voted(
        images=images,
        prompts=prompts,
        rows=torch.tensor([row[:3] for row in rows]),
        share=torch.tensor([row[3] for row in rows]),
    )


def rendered_votes() -> Voted:
    """Render four pictures of each of many train prompts and let train people vote on all pairs."""
    stated = _train_prompts()
    rng = generator(SEED, 1, "slips")
    shown = [
        altered(statement, rng) if float(torch.rand((), generator=rng)) < SLIPS else statement
        for statement in stated
        for _ in range(IMAGES)
    ]
    positions = torch.arange(50_000_000, 50_000_000 + len(shown))
    scenes = sample_scenes(SEED, positions, shown)
    drawn = [
        (render(scenes.rows(part)) * 255).round().byte()
        for part in torch.arange(len(shown)).split(2000)
    ]
    images = torch.cat(drawn).unflatten(0, (len(stated), IMAGES))
    prompts = [caption(statement) for statement in stated]
    pairs = torch.combinations(torch.arange(IMAGES))
    rows = torch.cat(
        [
            torch.arange(len(stated)).repeat_interleave(len(pairs))[:, None],
            pairs.repeat(len(stated), 1),
        ],
        dim=1,
    )
    worth = utilities(images, prompts, crowd("train"))
    share = vote(worth, rows, crowd("train"), generator(SEED, 2, "votes"))
    return Voted(images=images, prompts=prompts, rows=rows, share=share)


def utilities(
    images: UInt8[Tensor, "p k 3 y x"], prompts: Sequence[str], judges: Sequence[Person]
) -> Float[Tensor, "p k u"]:
    """Return each person's utility of each picture."""
    tastes = torch.stack([person.taste for person in judges])
    told = [prompt for prompt in prompts for _ in range(images.shape[1])]
    found: list[Tensor] = []
    for start in range(0, len(told), 500):
        part = images.flatten(0, 1)[start : start + 500].float() / 255
        shown = fidelity(part, tuple(told[start : start + 500]))
        found.append(attributes(part) @ tastes.T - FIDELITY_WEIGHT * (1 - shown)[:, None])
    return torch.cat(found).unflatten(0, (len(prompts), images.shape[1]))


def vote(
    worth: Float[Tensor, "p k u"],
    rows: Int[Tensor, "n 3"],
    judges: Sequence[Person],
    rng: torch.Generator,
) -> Float[Tensor, " n"]:
    """Let VOTERS people vote once on each row; return the share for the first picture."""
    first, second = worth[rows[:, 0], rows[:, 1]], worth[rows[:, 0], rows[:, 2]]
    chance = torch.stack(
        [choice_probability(person, first[:, u], second[:, u]) for u, person in enumerate(judges)],
        dim=1,
    )
    who = torch.randint(0, len(judges), (len(rows), VOTERS), generator=rng)
    luck = torch.rand(who.shape, generator=rng)
    return (luck < chance.gather(1, who)).float().mean(dim=1)


def altered(statement: Statement, rng: torch.Generator) -> Statement:
    """Return the statement with one attribute changed to another value."""
    name = list(statement)[int(torch.randint(0, len(statement), (), generator=rng))]
    others = [value for value in ATTRIBUTES[name] if value != statement[name]]
    return {**statement, name: others[int(torch.randint(0, len(others), (), generator=rng))]}


def indices(statements: Sequence[Statement]) -> Int[Tensor, "n a"]:
    """Return statements as attribute indices."""
    return torch.tensor(
        [
            [ATTRIBUTES[name].index(said[name]) if name in said else UNSTATED for name in _NAMES]
            for said in statements
        ]
    )


def _train_statements(
    words: Sequence[Statement], positions: Tensor
) -> tuple[list[int], list[Statement]]:
    """Return a true statement of the train split for every scene that gives one in six tries."""
    found: dict[int, Statement] = {}
    for attempt in range(6):
        open_rows = [row for row in range(len(words)) if row not in found]
        if not open_rows:
            break
        drawn = sample_names(SEED + attempt, positions[open_rows])
        for row, names in zip(open_rows, drawn, strict=True):
            said = {name: value for name, value in words[row].items() if name in names}
            if split_of(caption(said)) == "train":
                found[row] = said
    kept = sorted(found)
    return kept, [found[row] for row in kept]


def _train_prompts() -> list[Statement]:
    said = sample_statements(SEED, torch.arange(60_000_000, 60_000_000 + 2 * GROUPS))
    return [each for each in said if split_of(caption(each)) == "train"][:GROUPS]
