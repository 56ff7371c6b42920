"""Cards of the scorers that need no weights: the size of a JPEG, and attributes of the pixels."""

from diffpref.rewards.cards.card import Card

_HOST = "diffpref.rewards.attributes"
_PARITY = "exact by construction; tests of the formulas"

JPEG_SIZE = Card(
    name="jpeg-size",
    factory=f"{_HOST}:load_jpeg_size",
    kind="image",
    about="how small the image is as a JPEG, for tests and demonstrations of reward hacking",
    scale="minus the size of the JPEG of quality 95, in units of 1000 bytes",
    range_hint=(-500.0, 0.0),
    licence="Apache-2.0",
    differentiable=False,
    needs_prompt=False,
    temperature=1.0,
    source="the compressibility reward of DDPO (2305.13301)",
    parity=_PARITY,
)


def _attribute(name: str, about: str, scale: str, spread: tuple[float, float], step: float) -> Card:
    return Card(
        name=name,
        factory=f"{_HOST}:load_{name.replace('-', '_')}",
        kind="image",
        about=about,
        scale=scale,
        range_hint=spread,
        licence="Apache-2.0",
        differentiable=True,
        needs_prompt=False,
        temperature=step,
        source="diffpref.world.taste",
        parity=_PARITY,
    )


_PIXELS = "of pixels in [0, 1]"

ATTRIBUTES = (
    _attribute("brightness", "how bright the image is", f"mean luma {_PIXELS}", (0.0, 1.0), 0.25),
    _attribute(
        "warmth", "how warm its colours are", f"mean of red - blue {_PIXELS}", (-1.0, 1.0), 0.2
    ),
    _attribute(
        "colourfulness",
        "how far its colours are from grey",
        f"root mean square distance from grey {_PIXELS}",
        (0.0, 0.82),
        0.07,
    ),
    _attribute(
        "contrast",
        "how much its brightness varies",
        f"deviation of the luma {_PIXELS}",
        (0.0, 0.5),
        0.05,
    ),
    _attribute(
        "edge-energy",
        "how strong its edges are",
        f"root mean square difference of neighbours {_PIXELS}",
        (0.0, 1.42),
        0.03,
    ),
    _attribute(
        "coverage",
        "how much of it differs from the colour of its border",
        "mean of g / (g + 0.05), g the squared distance from the border's mean colour",
        (0.0, 1.0),
        0.055,
    ),
    _attribute(
        "symmetry",
        "how like its mirror image it is",
        f"minus the root mean square difference from it {_PIXELS}",
        (-1.0, 0.0),
        0.08,
    ),
    _attribute(
        "centring",
        "how close to the middle its objects are",
        "minus the distance of their centre of mass from the middle, in half sides",
        (-1.42, 0.0),
        0.18,
    ),
)
"""The temperature of each is about its deviation over pictures of the bundled world."""

CARDS = (JPEG_SIZE, *ATTRIBUTES)
