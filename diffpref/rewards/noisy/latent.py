r"""The latent reward of LPO (2502.01051): the base's own features of x_t at t.

Like the paper: features of every down block and the middle block at (x_t, t, text), averaged over
places; no clean image, no autoencoder; pairs are noised at one t.

Departs from the paper: the base stays frozen and only a head on its features learns, where the
paper trains the UNet and the text encoder too, so this reward is weaker and trains in minutes; the
text acts through the base's cross-attention instead of a product with a text embedding; guidance of
the features (7.5 in the released code) is left out, which halves the cost; timesteps are not
weighted, and pairs are not filtered by several scorers; each image of a training pair has its own
noise (`--noise shared` is the paper).
"""

from dataclasses import dataclass

from diffpref.models import Bundle
from diffpref.models.features import PooledFeatures, pooled_features
from diffpref.rewards.noisy.looks import Looked
from diffpref.types import Conditioning, Latents, Steps


@dataclass(frozen=True, kw_only=True)
class LatentLook:
    """Implements `Look`: about half of one call of the UNet per latent."""

    features: PooledFeatures

    def __call__(
        self, x_t: Latents, t: Steps, cond: Conditioning, prompts: tuple[str, ...], /
    ) -> Looked:
        del prompts  # the base was told of them
        seen = self.features(x_t, t, cond).float()
        return Looked(features=seen, own=seen.new_zeros(len(seen)))


def latent_look(bundle: Bundle) -> LatentLook:
    """Return the look of a copy of the bundle's UNet as it is now, without its adapters."""
    return LatentLook(features=pooled_features(bundle))
