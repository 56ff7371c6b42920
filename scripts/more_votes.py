"""The bundled people vote more, on the bundled pictures: is it votes that a user adapter lacks?

    python -m scripts.more_votes OUT --each 3    # OUT/train-..., and the other parts as they are
    python -m scripts.more_votes OUT --each 12 --best    # fewer rows that say more

Every two of the four pictures of a training prompt are shown to `--each` training people, who vote
as the bundled ones do; with `--best` all four are, and a row is the best against the worst of them
to one of `--each` people. Data of an experiment (docs/log.md): nothing that ships is trained on it.
"""

import argparse
import shutil
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from diffpref.assets import assets_root
from diffpref.data.readers import open_records
from diffpref.data.records import ImageRef, Record
from diffpref.data.transform import to_tensor
from diffpref.data.writers import image_data, write_pickapic
from diffpref.draws import generator
from diffpref.io import open_image
from diffpref.world.crowd import bundled_crowd
from diffpref.world.people import FIDELITY_WEIGHT, Person, choice_probability, fidelity
from diffpref.world.taste import attributes

NAME = "{}-00000-of-00001.parquet"
SEED = 0


@dataclass(frozen=True, kw_only=True)
class Shown:
    """The pictures of one prompt: their attributes, and what each loses by what it leaves out."""

    prompt: str
    images: tuple[ImageRef, ...]
    liked: Float[Tensor, "n a"]
    lost: Float[Tensor, " n"]

    def worth(self, person: Person) -> Float[Tensor, " n"]:
        """Return the person's exact utility of every picture."""
        return self.liked @ person.taste - self.lost


def shown() -> tuple[list[Shown], list[str]]:
    """Return the training prompts' pictures, and the names of the training people."""
    found, people = defaultdict[str, dict[bytes, ImageRef]](dict), dict[str, None]()
    for row in open_records("builtin:pairs").rows():
        assert isinstance(row, Record)
        found[row.prompt] |= {image_data(image): image for image in row.images}
        people[row.user or ""] = None
    seen: list[Shown] = []
    for prompt, images in found.items():
        pixels = torch.stack([_pixels(data) for data in images])
        lost = FIDELITY_WEIGHT * (1 - fidelity(pixels, (prompt,) * len(images)))
        refs = tuple(images.values())
        seen.append(Shown(prompt=prompt, images=refs, liked=attributes(pixels), lost=lost))
    return seen, list(people)


def votes(each: int) -> Iterator[Record]:
    """Yield the votes on every two pictures: a function of `each`."""
    crowd, (prompts, names) = bundled_crowd(), shown()
    rng = generator(SEED, each, "more-votes")
    for at in prompts:
        for first, second in combinations(range(len(at.images)), 2):
            for number in torch.randperm(len(names), generator=rng)[:each].tolist():
                person = crowd[names[number]]
                worth = at.worth(person)
                chance = choice_probability(person, worth[first, None], worth[second, None])[0]
                won = float(torch.rand((), generator=rng) < chance)
                pair = (at.images[first], at.images[second])
                yield Record(
                    prompt=at.prompt, images=pair, scores=(won, 1 - won), user=names[number]
                )


def extremes(each: int) -> Iterator[Record]:
    """Yield the best against the worst picture of a prompt to some people: a function of `each`.

    Utilities get Gumbel noise of the person's temperature, so that any two pictures are ordered as
    often as in a vote; a lapse orders all of them by chance.
    """
    crowd, (prompts, names) = bundled_crowd(), shown()
    rng = generator(SEED, each, "best-votes")
    for at in (prompt for prompt in prompts if len(prompt.images) > 2):
        for number in torch.randperm(len(names), generator=rng)[:each].tolist():
            person, count = crowd[names[number]], len(at.images)
            luck = -(-torch.rand(count, generator=rng).clamp_min(1e-9).log()).log()
            felt = at.worth(person) / person.temperature + luck
            if float(torch.rand((), generator=rng)) < person.lapse:
                felt = torch.rand(count, generator=rng)
            pair = (at.images[int(felt.argmax())], at.images[int(felt.argmin())])
            yield Record(prompt=at.prompt, images=pair, scores=(1.0, 0.0), user=names[number])


def _pixels(data: bytes) -> torch.Tensor:
    return to_tensor([open_image(data, where="builtin:pairs")])[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--each", type=int, default=3)
    parser.add_argument("--best", action="store_true", help="the best against the worst of four")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    rows = extremes(asked.each) if asked.best else votes(asked.each)
    write_pickapic(asked.out / NAME.format("train"), rows)
    for part in ("validation", "test"):
        shutil.copy(assets_root() / "pairs" / NAME.format(part), asked.out)


if __name__ == "__main__":
    main()
