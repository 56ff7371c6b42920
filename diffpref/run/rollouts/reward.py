"""The reward a configuration names, as a judge of clean latents or of noisy ones."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import torch
from torch import Tensor

from diffpref.config.schema import RewardConfig
from diffpref.errors import ConfigError
from diffpref.models import Bundle
from diffpref.models.tiny_vae import load_tiny_decoder
from diffpref.models.vae import Images
from diffpref.rewards import LoadedScorer, load_scorer
from diffpref.rewards.noisy import NOISY
from diffpref.rewards.noisy.files import NUMBERS
from diffpref.rewards.noisy.reward import NoisyReward, load_noisy_reward
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
    def name(self) -> str:
        return self.scorer.info.id

    @property
    def identity(self) -> str:
        """Who judges, for fingerprints."""
        return repr(self.scorer.info)

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


@dataclass(frozen=True, kw_only=True)
class NoisyJudge:
    """A trained reward of noisy latents, in micro-batches, counted.

    Attributes:
        reward: judges x_t at t.
        identity: who judges, for fingerprints.
        at_once: latents judged together.
        tally: counts; the base's prediction of a step-aware reward is a row of the network.
        centre, scale: the reward is (score - centre) / scale.
    """

    reward: NoisyReward
    identity: str
    at_once: int
    tally: Tally
    centre: float = 0.0
    scale: float = 1.0

    space: str = "latent"
    noisy: bool = True
    differentiable: bool = True

    @property
    def name(self) -> str:
        return f"{NOISY}{self.reward.kind}"

    def __call__(self, x: Tensor, t: Steps | None, prompts: tuple[str, ...], /) -> PerRow:
        """Return a reward per latent, in float32; without t the latents are clean."""
        rewards: list[Tensor] = []
        for start in range(0, len(x), self.at_once):
            part = slice(start, start + self.at_once)
            rewards.append(self.reward(x[part], None if t is None else t[part], prompts[part]))
        if self.reward.kind == "step-aware":
            self.tally.unet += len(x)
            self.tally.decoded += len(x)
        self.tally.rewarded += len(x)
        return (torch.cat(rewards) - self.centre) / self.scale

    def standardised(self, scores: PerRow) -> "NoisyJudge":
        """Return the reward with these scores' mean at 0 and their standard deviation at 1."""
        spread = float(scores.std())
        return replace(self, centre=float(scores.mean()), scale=spread if spread > 0 else 1.0)


Judge = DecodedReward | NoisyJudge


def make_reward(config: RewardConfig, bundle: Bundle, tally: Tally) -> Judge:
    """Load a trained reward of noisy latents, or a scorer and the decoder.

    Raises:
        UsageError, DataError: there is no such scorer or folder, its weights are missing, or it
            belongs to another base.
        ConfigError: the tiny decoder is not one.
    """
    if config.scorer.startswith(NOISY):
        return _noisy(config, bundle, tally)
    scorer = load_scorer(
        config.scorer, weights=config.weights, device=str(bundle.device), dtype=config.dtype
    )
    decode = (
        bundle.decode
        if config.decoder is None
        else load_tiny_decoder(config.decoder, device=bundle.device)
    )
    return DecodedReward(scorer=scorer, decode=decode, at_once=config.images_at_once, tally=tally)


def _noisy(config: RewardConfig, bundle: Bundle, tally: Tally) -> NoisyJudge:
    folder = Path(config.scorer.removeprefix(NOISY))
    reward = load_noisy_reward(folder, bundle, weights=config.weights, dtype=config.dtype)
    numbers = sha256((folder / NUMBERS).read_bytes()).hexdigest()
    return NoisyJudge(
        reward=reward,
        identity=f"{NOISY}{reward.kind} {numbers}",
        at_once=config.images_at_once,
        tally=tally,
    )
