"""What a scene is made of, and scenes drawn at random from (seed, position).

A scene shows one to three equal objects on a plain background. Seven attributes have names a
caption may state; colours, radii and places also vary a little around their names, so that no two
scenes are the same picture.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from diffpref.draws import Draws

SIDE = 32
"""Pixels on each side of an image."""

CENTRE = SIDE / 2
MAX_COUNT = 3

ATTRIBUTES: Mapping[str, tuple[str, ...]] = {
    "count": ("one", "two", "three"),
    "size": ("small", "large"),
    "finish": ("plain", "dotted", "hollow"),
    "colour": ("red", "yellow", "green", "cyan", "blue", "purple"),
    "shape": ("circle", "square", "triangle"),
    "place": ("left", "right", "top", "bottom", "centre"),
    "background": ("white", "grey", "black", "sand", "sky", "rose"),
}
"""The named attributes and their values, in the order a caption mentions them."""

COLOURS = (
    torch.tensor(
        [
            [215, 45, 40],
            [235, 200, 35],
            [50, 165, 65],
            [45, 190, 205],
            [45, 75, 215],
            [165, 60, 195],
        ]
    )
    / 255.0
)
BACKGROUNDS = (
    torch.tensor(
        [
            [240, 240, 238],
            [135, 135, 135],
            [22, 22, 24],
            [228, 200, 150],
            [150, 195, 235],
            [235, 180, 185],
        ]
    )
    / 255.0
)
RADII = torch.tensor([3.6, 4.6])
"""Half extent in pixels of small and large objects."""

SPACING = torch.tensor([0.0, 12.5, 10.6])
"""Pixels between neighbours on the line, by count - 1."""

SLACK = torch.tensor([2.0, 1.2, 0.3])
"""How far, in pixels, the middle of the line may slide along it, by count - 1."""

OFFSET = 8.0
"""Pixels between the middle of the image and the line of an off-centre group."""


@dataclass(frozen=True, kw_only=True)
class Scenes:
    """A batch of scenes: one index per named attribute, and the continuous values behind them."""

    named: Mapping[str, Int[Tensor, " n"]]
    ink: Float[Tensor, "n 3"]
    paper: Float[Tensor, "n 3"]
    radius: Float[Tensor, " n"]
    centres: Float[Tensor, "n 3 2"]

    def __len__(self) -> int:
        return self.radius.shape[0]

    def rows(self, index: slice | Int[Tensor, " m"]) -> "Scenes":
        return Scenes(
            named={name: values[index] for name, values in self.named.items()},
            ink=self.ink[index],
            paper=self.paper[index],
            radius=self.radius[index],
            centres=self.centres[index],
        )

    def words(self, row: int) -> dict[str, str]:
        """Return attribute -> value of one scene."""
        return {name: ATTRIBUTES[name][int(values[row])] for name, values in self.named.items()}


def sample_scenes(
    seed: int, positions: Int[Tensor, " n"], stated: list[dict[str, str]] | None = None
) -> Scenes:
    """Draw one scene per position; `stated` fixes the attributes a caption names, row by row."""
    draws = Draws(seed, positions)
    named = {
        name: draws.integers(f"scene/{name}", 0, len(values)) for name, values in ATTRIBUTES.items()
    }
    for row, fixed in enumerate(stated or []):
        for name, value in fixed.items():
            named[name][row] = ATTRIBUTES[name].index(value)
    return place_scenes(draws, named)


def place_scenes(draws: Draws, named: Mapping[str, Int[Tensor, " n"]]) -> Scenes:
    """Give named attributes their continuous values: tints, radii and centres."""
    noise = draws.normal("scene/tint", (2, 3)).clamp(-2, 2) * (5 / 255)
    radius = RADII[named["size"]] * (1 + 0.02 * draws.normal("scene/radius", ()).clamp(-2, 2))
    return Scenes(
        named=named,
        ink=(COLOURS[named["colour"]] + noise[:, 0]).clamp(0, 1),
        paper=(BACKGROUNDS[named["background"]] + noise[:, 1]).clamp(0, 1),
        radius=radius,
        centres=_centres(draws, named),
    )


def _centres(draws: Draws, named: Mapping[str, Int[Tensor, " n"]]) -> Float[Tensor, "n 3 2"]:
    """Put the objects on a line: a column left or right, a row above or below, either at centre."""
    count, place = named["count"], named["place"]
    index = torch.arange(MAX_COUNT)[None] - count[:, None] / 2
    slide = (2 * draws.uniform("scene/slide") - 1) * SLACK[count]
    along = CENTRE + index * SPACING[count][:, None] + slide[:, None]
    side = torch.tensor([-OFFSET, OFFSET, -OFFSET, OFFSET, 0.0])[place]
    across = CENTRE + side + (2 * draws.uniform("scene/across") - 1)
    across = across[:, None].expand_as(along) + 0.3 * draws.normal("scene/wobble", (3,)).clamp(
        -1, 1
    )
    column = (place < 2) | ((place == 4) & (draws.uniform("scene/turn") < 0.5))
    x = torch.where(column[:, None], across, along)
    y = torch.where(column[:, None], along, across)
    return torch.stack([x, y], dim=-1)


def with_named(scenes: Scenes, name: str, value: int) -> Scenes:
    """Return the scenes with one named attribute set, tints following (colour, background)."""
    named = {**scenes.named, name: torch.full_like(scenes.named[name], value)}
    if name == "colour":
        return replace(scenes, named=named, ink=COLOURS[named[name]])
    if name == "background":
        return replace(scenes, named=named, paper=BACKGROUNDS[named[name]])
    return replace(scenes, named=named)
