"""People: what a few votes say of one person's taste, given how tastes are spread over many."""

from diffpref.users.api import Using
from diffpref.users.change import add, fit_profile, forget, mix
from diffpref.users.prior import Prior
from diffpref.users.prior_file import find_prior, load_prior, save_prior
from diffpref.users.profile import UserProfile, null_profile
from diffpref.users.profile_file import load_profile, save_profile
from diffpref.users.reward import profile_scorer
from diffpref.users.somebody import somebody

__all__ = [
    "Prior",
    "UserProfile",
    "Using",
    "add",
    "find_prior",
    "fit_profile",
    "forget",
    "load_prior",
    "load_profile",
    "mix",
    "null_profile",
    "profile_scorer",
    "save_prior",
    "save_profile",
    "somebody",
]
