r"""A taste in words: liked and disliked attributes of the pixels, for a prompt and its negative.

    P(first > second) = sigma( a^T (psi(first) - psi(second)) ),     a ~ N(0, I)

psi are the weight-free attribute scorers, standardised. An attribute is named when its weight is
more than SURE posterior deviations from 0. In the manner of ViPer (2407.17365), which lets a
vision-language model describe likes and dislikes and adds them to the prompt.

Departs from the paper: attributes are measured, not described, so only these eight are known; the
words stand in the prompt and the negative prompt instead of moving its embedding.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from diffpref.rewards.inputs import AnyImage, one_picture
from diffpref.users.posterior import Belief, Gaps, posterior
from diffpref.world.taste import MEASURES, STANDARD

WORDS: Mapping[str, tuple[str, str]] = {
    "luminance": ("bright", "dark"),
    "warmth": ("warm colours", "cool colours"),
    "colourfulness": ("colourful", "muted colours"),
    "contrast": ("high contrast", "soft contrast"),
    "edge_energy": ("finely detailed", "smooth and plain"),
    "coverage": ("filling the frame", "much empty space"),
    "symmetry": ("symmetrical", "asymmetrical"),
    "centring": ("centred", "off-centre"),
}
"""Attribute -> what more and what less of it is called."""

SURE = 1.0
LANGUAGE = "en"


@dataclass(frozen=True, kw_only=True)
class Attribute:
    """The weight of one attribute and its posterior deviation, per standard deviation of it."""

    name: str
    weight: float
    error: float

    @property
    def clear(self) -> bool:
        return abs(self.weight) > SURE * self.error


@dataclass(frozen=True, kw_only=True)
class Words:
    """A taste in attributes, clearest first."""

    attributes: tuple[Attribute, ...]
    language: str = LANGUAGE

    @property
    def liked(self) -> list[str]:
        return [_word(each, each.weight > 0) for each in self.attributes if each.clear]

    @property
    def disliked(self) -> list[str]:
        return [_word(each, each.weight < 0) for each in self.attributes if each.clear]

    def prompt(self, text: str, most: int = 3) -> tuple[str, str]:
        """Return a prompt with the clearest likes, and a negative prompt of the dislikes."""
        return ", ".join([text, *self.liked[:most]]), ", ".join(self.disliked[:most])

    def plain(self) -> dict[str, Any]:
        """Return it as the file's header holds it."""
        return {
            "language": self.language,
            "liked": self.liked,
            "disliked": self.disliked,
            "attributes": [asdict(each) for each in self.attributes],
        }


def attributes_of(image: AnyImage) -> Float[Tensor, " a"]:
    """Return a picture's attributes in the deviations of the bundled world's scenes."""
    pixels = one_picture(image, 0)[None]
    found = [
        (measure(pixels)[0] - STANDARD[name][0]) / STANDARD[name][1]
        for name, measure in MEASURES.items()
    ]
    return torch.stack(found)


def describe(votes: Gaps, before: Words | None = None) -> Words:
    """Return the words of votes whose gaps are attributes.

    Args:
        votes: columns in the order of WORDS.
        before: what is believed already; their errors are taken as independent.
    """
    mean, cov = torch.zeros(len(WORDS)).double(), torch.eye(len(WORDS)).double()
    if before is not None:
        known = {each.name: each for each in before.attributes}
        mean = torch.tensor([known[name].weight for name in WORDS]).double()
        cov = torch.tensor([known[name].error for name in WORDS]).double().square().diag()
    found = posterior(Belief(mean=mean, cov=cov), votes)
    errors = found.cov.diagonal().sqrt().tolist()
    rows = zip(WORDS, found.mean.tolist(), errors, strict=True)
    return _sorted([Attribute(name=name, weight=w, error=e) for name, w, e in rows])


def read_words(about: Mapping[str, Any]) -> Words:
    """Read what `Words.plain` gave.

    Raises:
        ValueError: its attributes are not the known ones.
        KeyError: a part is missing.
    """
    found = [
        Attribute(name=str(each["name"]), weight=float(each["weight"]), error=float(each["error"]))
        for each in about["attributes"]
    ]
    if {each.name for each in found} != set(WORDS):
        raise ValueError("its attributes are not those of this version")
    return Words(attributes=tuple(found), language=str(about["language"]))


def mixed(parts: Sequence[tuple[float, Words]]) -> Words:
    """Return the weighted mean of several people's attributes; errors are averaged too."""
    every = [{each.name: each for each in words.attributes} for _, words in parts]
    shares = [share for share, _ in parts]

    def mean(name: str, what: str) -> float:
        values = [getattr(each[name], what) for each in every]
        return sum(share * value for share, value in zip(shares, values, strict=True))

    return _sorted(
        [
            Attribute(name=name, weight=mean(name, "weight"), error=mean(name, "error"))
            for name in WORDS
        ]
    )


def _sorted(found: Sequence[Attribute]) -> Words:
    order = sorted(found, key=lambda each: -abs(each.weight) / max(each.error, 1e-12))
    return Words(attributes=tuple(order))


def _word(attribute: Attribute, more: bool) -> str:
    return WORDS[attribute.name][0 if more else 1]
