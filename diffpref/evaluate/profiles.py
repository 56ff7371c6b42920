"""A person's profile beside a model that knows users: whether they belong together."""

from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from diffpref.data.support import Profile
from diffpref.errors import UsageError
from diffpref.evaluate.opened import Opened
from diffpref.models import user_adapter_of
from diffpref.models.user_files import read_about

USERS_BY, PRIOR = "users_by", "users_prior"
"""Facts about a run: the encoder that described its users, and the name of its population."""


def users_by(adapter: Path) -> dict[str, str]:
    """Return the facts that an adapter's file or folder says of its users."""
    about = read_about(adapter)
    names = {"encoder": USERS_BY, "prior": PRIOR}
    return {fact: about[name] for name, fact in names.items() if name in about}


def vectors_for(profile: Profile, opened: Opened, n: int) -> Float[Tensor, "n u"]:
    """Return the profile's vector for n images of a model, as `sample` takes users.

    Args:
        profile: whom the images are for.
        opened: the model.
        n: images.

    Returns:
        The same vector n times.

    Raises:
        UsageError: the model knows no users, or describes them by another encoder.
    """
    adapter = user_adapter_of(opened.bundle.unet)
    if adapter is None:
        hint = "give --adapter RUN (trained with adapter.kind: user), or re-rank: --rerank 16"
        raise UsageError(f"{opened.name} knows no users", where="--profile", hint=hint)
    wanted = opened.facts.get(USERS_BY, profile.fingerprint)
    if wanted != profile.fingerprint or len(profile.embedding) != adapter.width:
        raise UsageError(
            f"was made by {profile.fingerprint} with {len(profile.embedding)} numbers, and "
            f"{opened.name} learned users from {wanted} with {adapter.width}",
            where="--profile",
            hint=_remedy(wanted, opened),
        )
    return profile.embedding.float().expand(n, -1)


def _remedy(wanted: str, opened: Opened) -> str:
    prior = opened.facts.get(PRIOR)
    if prior is None:
        encoder = wanted.partition("/")[0]
        return (
            f"profiles are told to runs with users.encoder: bt; this one was trained with {encoder}"
            if encoder != "bt"
            else "fit the profile with the population the run was trained with"
        )
    return f"fit it with the model's own: diffpref profile fit ... --prior {prior}"
