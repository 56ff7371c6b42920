r"""Somebody else of the population, to show beside a person: drawn, never a real voter.

The means of posteriors after votes like the person's are spread over people as N(m, S_0 - S), S_0
the population's covariance and S the person's: what the votes taught is what the spread lost. A
person drawn from it is therefore as far from everyone as somebody of so many votes usually is.
"""

from dataclasses import replace

import torch

from diffpref.draws import generator
from diffpref.users.posterior import Belief, stored
from diffpref.users.profile import UserProfile, null_profile


def somebody(profile: UserProfile, seed: int = 0) -> UserProfile:
    """Return a drawn person of the profile's population, known as well as the profile is.

    Args:
        profile: whose population, and whose certainty. Without votes it is the population itself.
        seed: of the draw.

    Returns:
        A profile that keeps no statistics.
    """
    start = profile.prior.belief
    values, vectors = torch.linalg.eigh(start.cov - profile.belief.cov)
    rng = generator(seed, 0, "users/somebody")
    unit = torch.randn(len(values), generator=rng, dtype=torch.float64)
    mean = start.mean + vectors @ (values.clamp(min=0).sqrt() * unit)
    return replace(
        null_profile(profile.prior, profile.encoder),
        belief=stored(Belief(mean=mean, cov=profile.belief.cov)),
        sources=("drawn",),
    )
