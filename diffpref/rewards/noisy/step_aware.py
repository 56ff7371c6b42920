r"""The step-aware preference model of SPO (2406.04314): a scorer that knows how noisy x_t was.

    \hat x_0 = clean( x_t, \epsilon_base(x_t, t, c) );  i, p = embeddings of decode(\hat x_0) and c
    o = score(i \cdot p);  features = ( o, i_1 p_1, ..., i_d p_d )

Like the paper: both images of a pair are noised at one t and cleaned in one step; the reward begins
as the scorer's own and learns what to trust at each t.

Departs from the paper: the scorer's towers stay frozen and a head on the product of its embeddings
follows t, where the paper trains all of PickScore with adaptive layer norms; the frozen base
predicts the clean image in training and in use, at the price of one more call of the UNet per
candidate (SPO judges with the policy's own prediction, which the next step needs anyway); without
guidance; each image of a training pair has its own noise (`--noise shared` is the paper).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from diffpref.models import Bundle
from diffpref.models.features import base_denoiser
from diffpref.models.vae import Images
from diffpref.rewards.heads.scoring import towers_of
from diffpref.rewards.model import ScoringModel, TwoTower
from diffpref.rewards.noisy.looks import Looked
from diffpref.rewards.scorer import LoadedScorer
from diffpref.rewards.sight import Sight
from diffpref.schedule import NoiseSchedule
from diffpref.types import Conditioning, Denoiser, Latents, Steps


@dataclass(frozen=True, kw_only=True)
class StepAwareLook:
    """Implements `Look`: one call of the UNet, one decoding and one embedding per latent."""

    base: Denoiser
    schedule: NoiseSchedule
    decode: Callable[[Latents], Images]
    sight: Sight
    towers: TwoTower

    def __call__(
        self, x_t: Latents, t: Steps, cond: Conditioning, prompts: tuple[str, ...], /
    ) -> Looked:
        clean = self.schedule.clean(x_t, self.base(x_t, t, cond).to(x_t), t)
        image = self.towers.embed_seen(self.sight.smooth(self.decode(clean))).float()
        text = self._text(prompts).to(image)
        product = image * text
        own = self.towers.finish(product.sum(dim=1)).float()
        return Looked(features=torch.cat([own[:, None], product], dim=1), own=own)

    def _text(self, prompts: tuple[str, ...]) -> Tensor:
        distinct = list(dict.fromkeys(prompts))
        place = {prompt: row for row, prompt in enumerate(distinct)}
        with torch.no_grad():
            found = self.towers.embed_prompts(distinct).float()
        return found[torch.tensor([place[prompt] for prompt in prompts], device=found.device)]


def step_aware_look(bundle: Bundle, scorer: LoadedScorer) -> StepAwareLook:
    """Return the look of a copy of the bundle's UNet as it is now, and of a two-tower scorer.

    Raises:
        UsageError: the scorer has no embeddings.
    """
    towers = towers_of(scorer.model)
    assert isinstance(scorer.model, ScoringModel)  # two towers score
    return StepAwareLook(
        base=base_denoiser(bundle),
        schedule=bundle.schedule,
        decode=bundle.decode,
        sight=scorer.model.sight,
        towers=towers,
    )
