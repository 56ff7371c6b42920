"""Heads people can train in seconds on the cached embeddings of a frozen scorer."""

from collections.abc import Mapping
from types import MappingProxyType

from diffpref.rewards.heads.bradley_terry import BRADLEY_TERRY
from diffpref.rewards.heads.gpm import GPM
from diffpref.rewards.heads.kind import HeadKind
from diffpref.rewards.heads.lore import LORE
from diffpref.rewards.heads.mixture import MIXTURE
from diffpref.rewards.heads.pal import PAL_A, PAL_B

HEADS: Mapping[str, HeadKind] = MappingProxyType(
    {
        "bradley-terry": BRADLEY_TERRY,
        "pal-a": PAL_A,
        "pal-b": PAL_B,
        "lore": LORE,
        "gpm": GPM,
        "mixture": MIXTURE,
    }
)
"""Name -> kind of head."""
