"""What an online run needs and cannot do, refused before any weight is loaded."""

from diffpref.catalogue import find_method
from diffpref.config.schema import RolloutConfig, RunConfig
from diffpref.errors import ConfigError
from diffpref.rewards.noisy import NOISY
from diffpref.step_objective import StepObjective
from diffpref.types import AnyObjective
from diffpref.walk_objective import GradedWalks, PairedWalks

ONLINE_UNITS = ("steps", "walks", "prompts")
"""What only the policy's own samples give."""


def check_material(config: RunConfig) -> None:
    """Check that there is one thing to learn from, and a judge where the policy samples."""
    name, online = config.method.name, find_method(config.method.name).data in ONLINE_UNITS
    if config.data is not None and config.rollout is not None:
        hint = "remove rollout: to learn from data, or data: to learn from the policy's samples"
        raise ConfigError("a run learns from one of data and rollout", where="data", hint=hint)
    if config.rollout is None:
        if online:
            hint = "replace data: by rollout: {prompts: builtin:prompts/train} and name a reward:"
            what = f"{name} learns from the policy's own samples"
            raise ConfigError(what, where="rollout", hint=hint)
        if config.data is None:
            hint = "data: {source: builtin:pairs}, for example; or rollout: and reward:"
            raise ConfigError("there is nothing to learn from", where="data", hint=hint)
        return
    if config.reward is None:
        hint = "reward: {scorer: world-reward}, for example"
        raise ConfigError("nobody judges the policy's samples", where="reward", hint=hint)
    if config.reference.budget is not None:
        hint = "remove reference.budget, or learn from data"
        what = "a budget is measured on data, and there are none"
        raise ConfigError(what, where="reference.budget", hint=hint)


def check_sampling(config: RunConfig, objective: AnyObjective) -> None:
    """Check that the rollouts can give the objective something to learn from.

    Raises:
        ConfigError: names the field to change.
    """
    rollout = config.rollout
    if rollout is None:
        return
    if isinstance(objective, StepObjective):
        if objective.branching.noisy:
            _check_noisy(config)
        _check_noise(config.method.name, rollout)
        how = objective.branching
        if how.plain(rollout.steps) >= rollout.steps - how.skip_last:
            what = f"none of {rollout.steps} steps is left to be judged"
            hint = "lower method.start, or raise rollout.steps"
            raise ConfigError(what, where="method.start", hint=hint)
    if isinstance(objective, PairedWalks | GradedWalks):
        _check_noise(config.method.name, rollout)
        if rollout.steps <= objective.walking.drop_last:
            what = "the only step is left out"
            raise ConfigError(what, where="rollout.steps", hint="set rollout.steps: 20, as usual")


def _check_noise(name: str, rollout: RolloutConfig) -> None:
    if rollout.eta == 0:
        what = f"{name} learns from the noise of steps, and with eta 0 there is none"
        raise ConfigError(what, where="rollout.eta", hint="set rollout.eta: 1")


def _check_noisy(config: RunConfig) -> None:
    """Refuse a judge of pictures for a method whose candidates stay noisy latents."""
    name, reward = config.method.name, config.reward
    if reward is None or reward.scorer.startswith(NOISY):
        return
    raise ConfigError(
        f"{name} judges noisy latents, and {reward.scorer} judges clean pictures",
        where="reward.scorer",
        hint="train one (diffpref train-reward SOURCE --head latent --base BASE --out FOLDER) and "
        "write 'noisy:FOLDER', or set method.name: spo",
    )
