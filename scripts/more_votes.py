"""The bundled people vote more, on the bundled pictures: is it votes that a user adapter lacks?

    python -m scripts.more_votes OUT --each 3    # OUT/train-..., and the other parts as they are

Every two of the four pictures of a training prompt are shown to `--each` training people, who vote
as the bundled ones do. Data of an experiment (docs/log.md): nothing that ships is trained on it.
"""

import argparse
import shutil
from collections import defaultdict
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import torch

from diffpref.assets import assets_root
from diffpref.data.readers import open_records
from diffpref.data.records import ImageRef, Record
from diffpref.data.transform import to_tensor
from diffpref.data.writers import image_data, write_pickapic
from diffpref.draws import generator
from diffpref.io import open_image
from diffpref.world.crowd import bundled_crowd
from diffpref.world.people import FIDELITY_WEIGHT, choice_probability, fidelity
from diffpref.world.taste import attributes

NAME = "{}-00000-of-00001.parquet"
SEED = 0


def votes(each: int) -> Iterator[Record]:
    """Yield the votes: a function of `each`."""
    crowd, shown = bundled_crowd(), defaultdict[str, dict[bytes, ImageRef]](dict)
    people: dict[str, None] = {}
    for row in open_records("builtin:pairs").rows():
        assert isinstance(row, Record)
        shown[row.prompt] |= {image_data(image): image for image in row.images}
        people[row.user or ""] = None
    rng, names = generator(SEED, each, "more-votes"), list(people)
    for prompt, images in shown.items():
        pixels = torch.stack([_pixels(data) for data in images])
        told = (prompt,) * len(images)
        liked, kept = attributes(pixels), FIDELITY_WEIGHT * (1 - fidelity(pixels, told))
        for first, second in combinations(range(len(images)), 2):
            for number in torch.randperm(len(names), generator=rng)[:each].tolist():
                person = crowd[names[number]]
                worth = liked @ person.taste - kept
                chance = choice_probability(person, worth[first, None], worth[second, None])[0]
                won = float(torch.rand((), generator=rng) < chance)
                pair = tuple(list(images.values())[place] for place in (first, second))
                yield Record(prompt=prompt, images=pair, scores=(won, 1 - won), user=names[number])


def _pixels(data: bytes) -> torch.Tensor:
    return to_tensor([open_image(data, where="builtin:pairs")])[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--each", type=int, default=3)
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    write_pickapic(asked.out / NAME.format("train"), votes(asked.each))
    for part in ("validation", "test"):
        shutil.copy(assets_root() / "pairs" / NAME.format(part), asked.out)


if __name__ == "__main__":
    main()
