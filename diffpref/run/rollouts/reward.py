"""The reward a configuration names, as a judge of clean latents."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from diffpref.config.schema import RewardConfig
from diffpref.errors import ConfigError
from diffpref.models import Bundle
from diffpref.models.tiny_vae import load_tiny_decoder
from diffpref.models.vae import Images
from diffpref.rewards import LoadedScorer, load_scorer
from diffpref.run.rollouts.tally import Tally
from diffpref.types import Latents, PerRow, Steps


@dataclass(frozen=True, kw_only=True)
class DecodedReward:
    """A scorer of pictures as a reward of clean latents: decoded, scored, in micro-batches.

    Attributes:
        scorer: judges the pictures as its `reward` does, smoothly prepared.
        decode: latents to pictures, the full autoencoder or a tiny one.
        at_once: pictures decoded and scored together.
        tally: counts.
        centre, scale: the reward is (score - centre) / scale.
    """

    scorer: LoadedScorer
    decode: Callable[[Latents], Images]
    at_once: int
    tally: Tally
    centre: float = 0.0
    scale: float = 1.0

    space: str = "latent"
    noisy: bool = False

    @property
    def differentiable(self) -> bool:
        return self.scorer.info.differentiable

    def __call__(self, x: Tensor, t: Steps | None, prompts: tuple[str, ...], /) -> PerRow:
        """Return a reward per latent, in float32 on the latents' device.

        Raises:
            ConfigError: a noisy latent is given: this reward sees pictures.
        """
        if t is not None:
            raise ConfigError(
                f"{self.scorer.info.id} judges clean pictures, not noisy latents",
                where="reward.scorer",
                hint="choose a method that judges clean images, such as tailorpo or spo",
            )
        rewards: list[Tensor] = []
        for start in range(0, len(x), self.at_once):
            part = slice(start, start + self.at_once)
            pictures = self.decode(x[part])
            rewards.append(self.scorer.reward(pictures, prompts[part]).float())
        self.tally.decoded += len(x)
        self.tally.rewarded += len(x)
        return (torch.cat(rewards) - self.centre) / self.scale

    def standardised(self, scores: PerRow) -> "DecodedReward":
        """Return the reward with these scores' mean at 0 and their standard deviation at 1."""
        spread = float(scores.std())
        return replace(self, centre=float(scores.mean()), scale=spread if spread > 0 else 1.0)


def make_reward(config: RewardConfig, bundle: Bundle, tally: Tally) -> DecodedReward:
    """Load the scorer and the decoder.

    Raises:
        UsageError, DataError: there is no such scorer, or its weights are missing.
        ConfigError: the tiny decoder is not one.
    """
    scorer = load_scorer(
        config.scorer, weights=config.weights, device=str(bundle.device), dtype=config.dtype
    )
    decode = (
        bundle.decode
        if config.decoder is None
        else load_tiny_decoder(config.decoder, device=bundle.device)
    )
    return DecodedReward(scorer=scorer, decode=decode, at_once=config.images_at_once, tally=tally)
