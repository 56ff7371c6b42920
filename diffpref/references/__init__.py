"""What the policy is compared with: nothing, a copy, itself without adapters or users, its past.

These are rules over denoisers and parameter dictionaries. Copying a network and switching an
adapter off belong to `models`, which injects them.
"""

from diffpref.references.following import SAMPLER, SPENT, budgeted, ema, refreshed, together
from diffpref.references.kinds import adapters_off, frozen, gate_off, none
from diffpref.references.lending import borrowed, copies, loan
from diffpref.references.reference import Reference, Switch

__all__ = [
    "SAMPLER",
    "SPENT",
    "Reference",
    "Switch",
    "adapters_off",
    "borrowed",
    "budgeted",
    "copies",
    "ema",
    "frozen",
    "gate_off",
    "loan",
    "none",
    "refreshed",
    "together",
]
