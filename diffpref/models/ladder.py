"""The levels a stock sampler visits."""

from diffpref.errors import ConfigError
from diffpref.models.bundle import Bundle
from diffpref.models.sample_settings import SAMPLERS

CLEAN = -1


def visited_levels(bundle: Bundle, steps: int) -> tuple[tuple[int, int], ...]:
    """Return (t, s) of every step of the stock DDIM sampler, from noisy to clean.

    The last s is 0 where the scheduler's config says `set_alpha_to_one: false`, as Stable
    Diffusion's does, else -1, the clean level.

    Raises:
        ConfigError: steps is not 1 to T.
    """
    length = len(bundle.schedule)
    if not 1 <= steps <= length:
        what, hint = f"{steps} steps are not possible", f"choose 1 to {length}; 10 to 50 are usual"
        raise ConfigError(what, where="rollout.steps", hint=hint)
    scheduler = SAMPLERS["ddim"].from_config(bundle.scheduler.config)
    scheduler.set_timesteps(steps)
    last = CLEAN if scheduler.config["set_alpha_to_one"] else 0
    stride = length // steps
    visited = [int(t) for t in scheduler.timesteps]
    return tuple((t, t - stride if t >= stride else last) for t in visited)
