"""A trained noisy reward as a `Reward`: x_t at t and a prompt in, what it is worth out."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from diffpref.errors import DataError
from diffpref.models import Bundle
from diffpref.rewards.heads.embeddings import fingerprint
from diffpref.rewards.heads.head import EmbedderRef
from diffpref.rewards.load import load_scorer
from diffpref.rewards.noisy.files import load_noisy, require_base
from diffpref.rewards.noisy.head import StepHead
from diffpref.rewards.noisy.latent import latent_look
from diffpref.rewards.noisy.looks import Look, Told
from diffpref.rewards.noisy.step_aware import step_aware_look
from diffpref.rewards.scorer import LoadedScorer
from diffpref.types import PerRow, Steps


@dataclass(frozen=True, kw_only=True)
class NoisyReward:
    """Implements `Reward`: differentiable in x_t; clean latents (t None) are judged at t = 0.

    Attributes:
        kind: latent or step-aware.
        head: what was learned.
        look: what is seen of x_t.
        told: prompts to what the base is told.
    """

    kind: str
    head: StepHead
    look: Look
    told: Told

    space: str = "latent"
    noisy: bool = True
    differentiable: bool = True

    def __call__(self, x: Tensor, t: Steps | None, prompts: tuple[str, ...], /) -> PerRow:
        """Return a reward per latent, in float32 on the latents' device."""
        at = torch.full((len(x),), -1, device=x.device) if t is None else t.to(x.device)
        cond = self.told(prompts, x.shape[2], x.shape[3])
        seen = self.look(x, at, cond, prompts)
        return self.head(seen.features, seen.own, at.to(seen.own.device)).to(x.device)


def load_noisy_reward(
    folder: Path | str, bundle: Bundle, *, weights: str | None = None, dtype: str = "fp32"
) -> NoisyReward:
    """Load `noisy:FOLDER` on its base, as the bundle is now without its adapters.

    Args:
        folder: what `train-reward` wrote.
        bundle: the base.
        weights: file or folder of the scorer of a step-aware reward instead of its own.
        dtype: precision of that scorer.

    Raises:
        DataError: the folder is damaged, or was trained on another base or scorer.
    """
    saved = load_noisy(folder)
    require_base(saved, bundle, Path(folder))
    scorer = None
    if saved.scorer is not None:
        name = saved.scorer.scorer
        scorer = load_scorer(name, weights=weights, device=str(bundle.device), dtype=dtype)
        require_scorer(saved.scorer, scorer)
    look = make_look(saved.kind, bundle, scorer)
    return NoisyReward(kind=saved.kind, head=saved.head, look=look, told=Told(bundle=bundle))


def make_look(kind: str, bundle: Bundle, scorer: LoadedScorer | None) -> Look:
    """Return what a kind sees; step-aware needs a scorer of two towers."""
    if kind == "latent":
        return latent_look(bundle)
    assert scorer is not None  # the caller loads one for this kind
    return step_aware_look(bundle, scorer)


def require_scorer(wanted: EmbedderRef, scorer: LoadedScorer) -> None:
    """Refuse a scorer that the reward was not trained on.

    Raises:
        DataError: its weights differ.
    """
    if fingerprint(scorer.info) != wanted.fingerprint:
        hint = "load the scorer with the weights it was trained on, or train it again"
        what = f"was trained on other weights of {wanted.scorer}"
        raise DataError(what, where="reward.scorer", hint=hint)
