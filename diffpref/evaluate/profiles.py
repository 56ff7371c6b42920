"""A person's profile beside a model that knows users: whether they belong together."""

from jaxtyping import Float
from torch import Tensor

from diffpref.data.support import Profile
from diffpref.errors import UsageError
from diffpref.evaluate.opened import Opened
from diffpref.models import user_adapter_of

USERS_BY = "users_by"
"""Fact about a run: the encoder that described its users."""


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
        hint = "choose a run with adapter.kind: user"
        raise UsageError(f"{opened.name} knows no users", where="--profile", hint=hint)
    wanted = opened.facts.get(USERS_BY, profile.encoder_id)
    if wanted != profile.encoder_id or len(profile.embedding) != adapter.width:
        raise UsageError(
            f"was made by {profile.encoder_id} with {len(profile.embedding)} numbers, and "
            f"{opened.name} learned users from {wanted} with {adapter.width}",
            where="--profile",
            hint="fit the profile with the model's own encoder",
        )
    return profile.embedding.float().expand(n, -1)
