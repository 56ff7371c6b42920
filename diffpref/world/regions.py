"""Connected regions of a mask, for a batch of images at once."""

import torch
from jaxtyping import Bool
from torch import Tensor


def fill(mask: Bool[Tensor, "n y x"]) -> Bool[Tensor, "n y x"]:
    """Fill the holes: everything the border cannot reach through the paper is object."""
    border = torch.zeros_like(mask)
    border[:, 0] = border[:, -1] = border[:, :, 0] = border[:, :, -1] = True
    return ~spread(border, ~mask)


def components(solid: Bool[Tensor, "n y x"], slots: int) -> Bool[Tensor, "n o y x"]:
    """Peel off connected regions one by one and return the largest `slots`, empty where fewer."""
    left, found = solid.clone(), []
    for _ in range(3 * slots):
        flat = left.flatten(1)
        first = torch.zeros_like(flat)
        first[torch.arange(len(flat)), flat.float().argmax(dim=1)] = True
        region = spread(first.view_as(left), left)
        found.append(region)
        left = left & ~region
        if not left.any():
            break
    regions = torch.stack(found, dim=1)
    if regions.shape[1] < slots:
        missing = slots - regions.shape[1]
        regions = torch.cat(
            [regions, torch.zeros_like(regions[:, :1]).expand(-1, missing, -1, -1)], 1
        )
    largest = regions.sum(dim=(2, 3)).topk(slots, dim=1).indices
    return regions.gather(1, largest[:, :, None, None].expand(-1, -1, *solid.shape[1:]))


def spread(seed: Bool[Tensor, "n y x"], room: Bool[Tensor, "n y x"]) -> Bool[Tensor, "n y x"]:
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
