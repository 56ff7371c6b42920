"""The exact oracle: what an image shows, read from its pixels alone, and prompt fidelity.

Objects are the connected regions that differ from the paper (the median of the border), with
their holes filled. Each is compared with drawn templates, so the rules hold for generated images
as well as for rendered ones.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from diffpref.world.captions import Statement, parse
from diffpref.world.render import AREA, HOLE, coverage, disc, dot_colour
from diffpref.world.scene import ATTRIBUTES, BACKGROUNDS, CENTRE, COLOURS, RADII, SIDE

SLOTS = 5
"""Objects looked at per image; one more than any caption asks for, plus one."""

MIN_AREA = 7.0
"""Pixels below which a region is a speck, not an object (a small triangle has about 20)."""

FAINT = 0.16
"""Distance in RGB from the paper below which a pixel is paper."""

COLOUR_REACH = 0.40
"""Largest distance in RGB at which a colour still carries a name."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What the oracle sees; object slots are ordered by area, `present` marks the real ones."""

    count: Int[Tensor, " n"]
    background: Int[Tensor, " n"]
    centroid: Float[Tensor, "n 2"]
    present: Bool[Tensor, "n o"]
    shape: Int[Tensor, "n o"]
    colour: Int[Tensor, "n o"]
    size: Int[Tensor, "n o"]
    finish: Int[Tensor, "n o"]


@torch.no_grad()
def look(images: Float[Tensor, "n 3 y x"]) -> Seen:
    """Read every attribute from the pixels of 32 px images in [0, 1]."""
    images = images.detach().float().cpu().clamp(0, 1)
    paper = _paper(images)
    distance = (images - paper[:, :, None, None]).norm(dim=1)
    typical = _typical(distance)
    solid = _fill((distance > 0.5 * typical[:, None, None]) & (distance >= FAINT))
    members = _components(solid)
    soft = _soft_masks(distance, solid, members, typical[:, None].expand(-1, SLOTS))
    ink = _ink(images, distance, soft)
    soft = _soft_masks(distance, solid, members, (ink - paper[:, None]).norm(dim=2))
    area = soft.sum(dim=(2, 3))
    present = area >= MIN_AREA
    centre = _centres(soft, area)
    shape = _shapes(soft, area, centre)
    radius = (area / AREA[shape]).clamp_min(1e-6).sqrt()
    count = present.sum(dim=1)
    weight = present.float() / count.clamp_min(1)[:, None]
    return Seen(
        count=count,
        background=_nearest(paper, BACKGROUNDS),
        centroid=(centre * weight[:, :, None]).sum(dim=1),
        present=present,
        shape=shape,
        colour=_nearest(ink, COLOURS),
        size=(radius > RADII.log().mean().exp()).long(),
        finish=_finish(images, paper, ink, centre, radius),
    )


def rules(
    images: Float[Tensor, "n 3 y x"], captions: tuple[str, ...]
) -> dict[str, Float[Tensor, " n"]]:
    """Return each rule's score in [0, 1]; NaN where the caption does not state it.

    count, place and background hold or do not hold; shape, colour, size and finish are the share
    of objects that have the stated value.

    Raises:
        DataError: a caption is not of the world.
    """
    seen = look(images)
    stated = [parse(text) for text in captions]
    columns = {name: torch.full((len(stated),), torch.nan) for name in ATTRIBUTES}
    for row, statement in enumerate(stated):
        for name in statement:
            columns[name][row] = _score(seen, row, name, statement)
    return columns


def fidelity(images: Float[Tensor, "n 3 y x"], captions: tuple[str, ...]) -> Float[Tensor, " n"]:
    """Return the mean over the rules each caption states, in [0, 1]."""
    scores = torch.stack(list(rules(images, captions).values()), dim=1)
    return scores.nanmean(dim=1)


def _score(seen: Seen, row: int, name: str, stated: Statement) -> float:
    wanted = ATTRIBUTES[name].index(stated[name])
    if name == "count":
        return float(int(seen.count[row]) == wanted + 1)
    if name == "background":
        return float(int(seen.background[row]) == wanted)
    if not seen.present[row].any():
        return 0.0
    if name == "place":
        return float(_place(seen.centroid[row]) == wanted)
    values: Tensor = {
        "shape": seen.shape,
        "colour": seen.colour,
        "size": seen.size,
        "finish": seen.finish,
    }[name]
    return float((values[row][seen.present[row]] == wanted).float().mean())


def _place(centroid: Float[Tensor, "2"]) -> int:
    dx, dy = (centroid - CENTRE).tolist()
    if max(abs(dx), abs(dy)) < 4:
        return 4
    if abs(dx) > abs(dy):
        return 0 if dx < 0 else 1
    return 2 if dy < 0 else 3


def _paper(images: Float[Tensor, "n 3 y x"]) -> Float[Tensor, "n 3"]:
    edges = [images[:, :, 0], images[:, :, -1], images[:, :, :, 0], images[:, :, :, -1]]
    return torch.cat(edges, dim=2).median(dim=2).values


def _typical(distance: Float[Tensor, "n y x"]) -> Float[Tensor, " n"]:
    """Return the median distance from the paper of the pixels that are not paper."""
    strong = distance.masked_fill(distance < FAINT, torch.nan).flatten(1)
    return strong.nanmedian(dim=1).values.nan_to_num(1.0)


def _spread(seed: Bool[Tensor, "n y x"], room: Bool[Tensor, "n y x"]) -> Bool[Tensor, "n y x"]:
    """Grow `seed` inside `room` through the four neighbours until nothing changes."""
    reached = seed & room
    while True:
        grown = reached.clone()
        grown[:, 1:] |= reached[:, :-1]
        grown[:, :-1] |= reached[:, 1:]
        grown[:, :, 1:] |= reached[:, :, :-1]
        grown[:, :, :-1] |= reached[:, :, 1:]
        grown &= room
        if torch.equal(grown, reached):
            return reached
        reached = grown


def _fill(mask: Bool[Tensor, "n y x"]) -> Bool[Tensor, "n y x"]:
    """Fill the holes: everything the border cannot reach through the paper is object."""
    border = torch.zeros_like(mask)
    border[:, 0] = border[:, -1] = border[:, :, 0] = border[:, :, -1] = True
    return ~_spread(border, ~mask)


def _components(solid: Bool[Tensor, "n y x"]) -> Bool[Tensor, "n o y x"]:
    """Peel off connected regions one by one and keep the largest SLOTS of them."""
    left, found = solid.clone(), []
    for _ in range(3 * SLOTS):
        flat = left.flatten(1)
        first = torch.zeros_like(flat)
        first[torch.arange(len(flat)), flat.float().argmax(dim=1)] = True
        region = _spread(first.view_as(left), left)
        found.append(region)
        left = left & ~region
        if not left.any():
            break
    regions = torch.stack(found, dim=1)
    if regions.shape[1] < SLOTS:
        missing = SLOTS - regions.shape[1]
        regions = torch.cat([regions, torch.zeros_like(regions[:, :1]).expand(-1, missing, -1, -1)], 1)
    largest = regions.sum(dim=(2, 3)).topk(SLOTS, dim=1).indices
    return regions.gather(1, largest[:, :, None, None].expand(-1, -1, SIDE, SIDE))


def _soft_masks(
    distance: Float[Tensor, "n y x"],
    solid: Bool[Tensor, "n y x"],
    members: Bool[Tensor, "n o y x"],
    scale: Float[Tensor, "n o"],
) -> Float[Tensor, "n o y x"]:
    """Return sub-pixel masks: full inside an object, on its rim the distance over `scale`."""
    rim = (distance[:, None] / scale.clamp_min(FAINT)[:, :, None, None]).clamp(0, 1)
    inner = functional.max_pool2d((~solid).float()[:, None], 3, 1, 1) == 0
    reach = functional.max_pool2d(members.float(), 3, 1, 1) > 0
    others = members.any(dim=1, keepdim=True) & ~members
    return torch.where(inner, 1.0, rim) * (reach & ~others)


def _centres(
    soft: Float[Tensor, "n o y x"], area: Float[Tensor, "n o"]
) -> Float[Tensor, "n o 2"]:
    pixel = torch.arange(SIDE) + 0.5
    x = (soft.sum(dim=2) * pixel).sum(dim=2)
    y = (soft.sum(dim=3) * pixel).sum(dim=2)
    return torch.stack([x, y], dim=-1) / area.clamp_min(1e-6)[:, :, None]


def _shapes(
    soft: Float[Tensor, "n o y x"], area: Float[Tensor, "n o"], centre: Float[Tensor, "n o 2"]
) -> Int[Tensor, "n o"]:
    """Return the shape whose template of equal area and centroid is closest."""
    flat, where, size = soft.flatten(0, 1), centre.flatten(0, 1), area.flatten()
    gaps = []
    for shape in range(len(AREA)):
        index = torch.full((len(flat),), shape)
        template = coverage(index, where, (size / AREA[shape]).clamp_min(1e-6).sqrt())
        gaps.append((template - flat).square().sum(dim=(1, 2)))
    return torch.stack(gaps, dim=1).argmin(dim=1).view_as(area)


def _ink(
    images: Float[Tensor, "n 3 y x"],
    distance: Float[Tensor, "n y x"],
    soft: Float[Tensor, "n o y x"],
) -> Float[Tensor, "n o 3"]:
    """Return the mean colour of each object's purest pixels, away from its middle."""
    area = soft.sum(dim=(2, 3))
    middle = disc(_centres(soft, area).flatten(0, 1), area.flatten().sqrt() * HOLE / 1.8 + 0.8)
    unlike = distance[:, None] * soft * (1 - middle.view_as(soft))
    purest = unlike.flatten(2).max(dim=2).values.clamp_min(1e-6)
    weight = (unlike / purest[:, :, None, None]).pow(12)
    total = weight.sum(dim=(2, 3)).clamp_min(1e-6)
    return torch.einsum("noyx,ncyx->noc", weight, images) / total[:, :, None]


def _finish(
    images: Float[Tensor, "n 3 y x"],
    paper: Float[Tensor, "n 3"],
    ink: Float[Tensor, "n o 3"],
    centre: Float[Tensor, "n o 2"],
    radius: Float[Tensor, "n o"],
) -> Int[Tensor, "n o"]:
    """Return whether the middle looks like the ink (plain), the dot (dotted) or the paper (hollow)."""
    n, o = radius.shape
    middle = disc(centre.flatten(0, 1), radius.flatten() * HOLE * 0.6).view(n, o, SIDE, SIDE)
    total = middle.sum(dim=(2, 3)).clamp_min(1e-6)
    colour = torch.einsum("noyx,ncyx->noc", middle, images) / total[:, :, None]
    dot = dot_colour(paper)[:, None].expand(-1, o, -1)
    choices = torch.stack([ink, dot, paper[:, None].expand(-1, o, -1)], dim=2)
    return (choices - colour[:, :, None]).norm(dim=3).argmin(dim=2)


def _nearest(colour: Float[Tensor, "*rows 3"], names: Float[Tensor, "m 3"]) -> Int[Tensor, "*rows"]:
    """Return the index of the nearest named colour, or -1 when none is near."""
    distance = (colour[..., None, :] - names).norm(dim=-1)
    near = distance.min(dim=-1)
    return torch.where(near.values < COLOUR_REACH, near.indices, -1)
