"""The `bt` user encoder of a run: choices to the very embedding that a profile file holds."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from diffpref.data.support import SupportPair
from diffpref.rewards.heads.items import Items
from diffpref.rewards.scorer import LoadedScorer
from diffpref.users.posterior import Gaps, posterior, stored
from diffpref.users.prior import Prior
from diffpref.users.profile import told_by
from diffpref.users.reward import check_embedder


@dataclass(frozen=True, kw_only=True)
class PromptVectors:
    """Embeddings of prompts by one scorer, each computed once."""

    scorer: LoadedScorer
    known: dict[str, Float[Tensor, " d"]] = field(default_factory=dict[str, Tensor], repr=False)

    def learn(self, prompts: Iterable[str]) -> None:
        """Embed those that are not known yet."""
        new = [text for text in dict.fromkeys(prompts) if text not in self.known]
        if new:
            self.known.update(zip(new, self.scorer.embed_prompts(new), strict=True))

    def __call__(self, prompts: Sequence[str]) -> Float[Tensor, "n d"]:
        self.learn(prompts)
        return torch.stack([self.known[text] for text in prompts])


@dataclass(frozen=True, kw_only=True)
class BtEncoder:
    """Implements `UserEncoder`: the embedding of the posterior after a person's choices.

    The same choices give what `diffpref profile fit` writes: how far the person stands from
    everyone along the directions people differ in, and how sure that is; 0 without choices. A
    choice given twice counts once. Shares between 0.5 and 1 count as 1, since a support pair says
    only which image was chosen.
    """

    prior: Prior
    prompts: PromptVectors

    @property
    def width(self) -> int:
        return self.prior.size

    @property
    def fingerprint(self) -> str:
        return told_by("bt", self.prior)

    def __call__(self, support: Sequence[SupportPair], /) -> Float[Tensor, " u"]:
        """Return the embedding, float32, `prior.size` numbers."""
        once = list({(pair.prompt, pair.images): pair for pair in support}.values())
        if not once:
            return torch.zeros(self.width)
        asked = self.prompts([pair.prompt for pair in once])
        with torch.no_grad():
            chosen, rejected = (
                self.prior.whitening(Items(image=torch.stack(images), prompt=asked))
                for images in zip(*((pair.chosen, pair.rejected) for pair in once), strict=True)
            )
        votes = Gaps(
            gap=chosen - rejected,
            share=torch.ones(len(once)),
            weight=torch.tensor([pair.weight for pair in once]),
        )
        return self.prior.embedding(stored(posterior(self.prior.belief, votes)))


def make_bt_encoder(prior: Prior, scorer: LoadedScorer, prompts: Iterable[str] = ()) -> BtEncoder:
    """Return the encoder of a population.

    Args:
        prior: the population.
        scorer: the one whose embeddings it reads.
        prompts: to embed now, all at once; others are embedded when they are met.

    Raises:
        DataError: the scorer has other weights than the population was learned with.
    """
    check_embedder(prior, scorer)
    vectors = PromptVectors(scorer=scorer)
    vectors.learn(prompts)
    return BtEncoder(prior=prior, prompts=vectors)
