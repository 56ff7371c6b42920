"""Bounded visual attributes: what people of the world like, computed from pixels, differentiably.

Each attribute is standardised on rendered scenes and passed through tanh, so that none can be
pushed to infinity by a model that games it.
"""

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

Images = Float[Tensor, "n 3 y x"]

LUMA = torch.tensor([0.299, 0.587, 0.114])


def luma(images: Images) -> Float[Tensor, "n y x"]:
    return torch.einsum("ncyx,c->nyx", images, LUMA.to(images))


def luminance(images: Images) -> Float[Tensor, " n"]:
    """Return the mean luma."""
    return luma(images).mean(dim=(1, 2))


def warmth(images: Images) -> Float[Tensor, " n"]:
    """Return the mean of red minus blue."""
    return (images[:, 0] - images[:, 2]).mean(dim=(1, 2))


def colourfulness(images: Images) -> Float[Tensor, " n"]:
    """Return the root mean square distance of the pixels from grey."""
    grey = images.mean(dim=1, keepdim=True)
    return (images - grey).square().sum(dim=1).mean(dim=(1, 2)).add(1e-6).sqrt()


def contrast(images: Images) -> Float[Tensor, " n"]:
    """Return the standard deviation of the luma."""
    return luma(images).var(dim=(1, 2)).add(1e-6).sqrt()


def edge_energy(images: Images) -> Float[Tensor, " n"]:
    """Return the root mean square difference of neighbouring pixels."""
    across = (images[..., 1:] - images[..., :-1]).square().mean(dim=(1, 2, 3))
    down = (images[..., 1:, :] - images[..., :-1, :]).square().mean(dim=(1, 2, 3))
    return (across + down + 1e-6).sqrt()


def objectness(images: Images) -> Float[Tensor, "n y x"]:
    """Return how unlike the border's mean colour each pixel is, in [0, 1)."""
    border = torch.cat(
        [images[:, :, 0], images[:, :, -1], images[:, :, :, 0], images[:, :, :, -1]], dim=2
    ).mean(dim=2)
    gap = (images - border[:, :, None, None]).square().sum(dim=1)
    return gap / (gap + 0.05)


def coverage(images: Images) -> Float[Tensor, " n"]:
    """Return the share of the image that is not paper."""
    return objectness(images).mean(dim=(1, 2))


def symmetry(images: Images) -> Float[Tensor, " n"]:
    """Return minus the mean difference between the image and its mirror image."""
    return -(images - images.flip(3)).square().mean(dim=(1, 2, 3)).add(1e-6).sqrt()


def centring(images: Images) -> Float[Tensor, " n"]:
    """Return minus the distance of the objects' centre of mass from the middle, in half sides."""
    mass = objectness(images) + 1e-4
    down, across = (
        (torch.arange(side, device=images.device, dtype=images.dtype) + 0.5) * 2 / side - 1
        for side in images.shape[-2:]
    )
    total = mass.sum(dim=(1, 2))
    x, y = (mass * across).sum(dim=(1, 2)) / total, (mass * down[:, None]).sum(dim=(1, 2)) / total
    return -(x.square() + y.square() + 1e-6).sqrt()


MEASURES: Mapping[str, Callable[[Images], Float[Tensor, " n"]]] = {
    "luminance": luminance,
    "warmth": warmth,
    "colourfulness": colourfulness,
    "contrast": contrast,
    "edge_energy": edge_energy,
    "coverage": coverage,
    "symmetry": symmetry,
    "centring": centring,
}

STANDARD: Mapping[str, tuple[float, float]] = {
    "luminance": (0.6283, 0.2472),
    "warmth": (0.0277, 0.1933),
    "colourfulness": (0.1866, 0.0686),
    "contrast": (0.0907, 0.0516),
    "edge_energy": (0.0928, 0.0315),
    "coverage": (0.0958, 0.0554),
    "symmetry": (-0.1064, 0.0778),
    "centring": (-0.4118, 0.1817),
}
"""Mean and standard deviation of each measure over 20,000 rendered scenes of seed 0."""


def attributes(images: Images) -> Float[Tensor, "n a"]:
    """Return tanh of the standardised measures, in (-1, 1), in the order of MEASURES."""
    columns = [
        ((measure(images) - STANDARD[name][0]) / STANDARD[name][1]).tanh()
        for name, measure in MEASURES.items()
    ]
    return torch.stack(columns, dim=1)
