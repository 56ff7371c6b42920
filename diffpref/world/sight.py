"""What an image shows, read from its pixels alone.

Objects are the connected regions that differ from the paper (the median of the border), with
their holes filled. Each is compared with drawn templates, so that generated images can be read
as well as rendered ones.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from diffpref.world.regions import components, fill
from diffpref.world.render import AREA, HOLE, coverage, disc, dot_colour
from diffpref.world.scene import BACKGROUNDS, COLOURS, RADII, SIDE

SLOTS = 5
"""Objects looked at per image: more than any caption asks for."""

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
    solid = fill((distance > 0.5 * typical[:, None, None]) & (distance >= FAINT))
    members = components(solid, SLOTS)
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


def _paper(images: Float[Tensor, "n 3 y x"]) -> Float[Tensor, "n 3"]:
    edges = [images[:, :, 0], images[:, :, -1], images[:, :, :, 0], images[:, :, :, -1]]
    return torch.cat(edges, dim=2).median(dim=2).values


def _typical(distance: Float[Tensor, "n y x"]) -> Float[Tensor, " n"]:
    """Return the median distance from the paper of the pixels that are not paper."""
    strong = distance.masked_fill(distance < FAINT, torch.nan).flatten(1)
    return strong.nanmedian(dim=1).values.nan_to_num(1.0)


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


def _centres(soft: Float[Tensor, "n o y x"], area: Float[Tensor, "n o"]) -> Float[Tensor, "n o 2"]:
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
    """Return whether the middle is like the ink (plain), the dot (dotted) or the paper (hollow)."""
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
