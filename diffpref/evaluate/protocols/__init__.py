"""Preference-accuracy protocols by name: what counts as right, and what is averaged."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from diffpref.evaluate.protocols.hpdv2 import hpdv2_inversion
from diffpref.evaluate.protocols.imagereward import imagereward_micro, imagereward_per_prompt
from diffpref.evaluate.protocols.item import Credit, Judged
from diffpref.evaluate.protocols.pickapic import THRESHOLDS, pickapic_v1_paper
from diffpref.evaluate.protocols.strict import strict_pairs

__all__ = ["PROTOCOLS", "Credit", "Judged", "Named"]


@dataclass(frozen=True, kw_only=True)
class Named:
    """A protocol of the table.

    A tuned rule takes `threshold` and `temperature` beside the item; its threshold is the one of
    `thresholds` that is best on a validation set. `about` is one line for lists.
    """

    credit: Callable[..., Credit]
    about: str
    thresholds: tuple[float, ...] = ()
    two_images: bool = False
    drops_label_ties: bool = True


PROTOCOLS: Mapping[str, Named] = MappingProxyType(
    {
        "pickapic_v1_paper": Named(
            credit=pickapic_v1_paper,
            about="pairs; close scores are a tie, tuned on --validation; one-sided ties get 1/2",
            thresholds=THRESHOLDS,
            two_images=True,
            drops_label_ties=False,
        ),
        "hpdv2_inversion": Named(
            credit=hpdv2_inversion,
            about="ranked lists; share of pairs not inverted, mean over lists",
            drops_label_ties=False,
        ),
        "imagereward_micro": Named(
            credit=imagereward_micro,
            about="ranked lists; right pairs of all pairs people told apart",
        ),
        "imagereward_per_prompt": Named(
            credit=imagereward_per_prompt,
            about="ranked lists; the same share within each list, mean over lists",
        ),
        "strict_pairs": Named(
            credit=strict_pairs,
            about="pairs; those people told apart, strictly in their order",
        ),
    }
)
