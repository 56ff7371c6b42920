"""A stock scheduler's config read as a pure noise schedule, in float64."""

import math
from collections.abc import Mapping
from typing import Any, Literal, cast

import torch
from jaxtyping import Float
from torch import Tensor

from diffpref.errors import ConfigError, nearest
from diffpref.models.cascade.levels import S, stage_c_schedule
from diffpref.schedule import NoiseSchedule

Prediction = Literal["epsilon", "v_prediction"]
PREDICTIONS = ("epsilon", "v_prediction")
WUERSTCHEN = "DDPMWuerstchenScheduler"
BETAS = ("linear", "scaled_linear", "squaredcos_cap_v2")


def read_schedule(config: Mapping[str, Any], where: str) -> tuple[NoiseSchedule, Prediction]:
    """Return the schedule and what the network predicts.

    The betas are computed again in float64: the stock schedulers keep float32 products, which
    are off by up to 1e-5 at the noisy end.

    Raises:
        ConfigError: not a discrete-time noise schedule we know, or a network that predicts
            something else, or one that is told epsilon where no signal is left.
    """
    if config.get("_class_name") == WUERSTCHEN:
        return _stage_c(config, where), "epsilon"
    prediction = str(config.get("prediction_type", "epsilon"))
    if prediction not in PREDICTIONS:
        raise ConfigError(
            f"the scheduler of {where} says the network predicts '{prediction}'",
            where="model.base",
            hint=nearest(prediction, PREDICTIONS),
        )
    abar = torch.cumprod(1 - _betas(config, where), dim=0)
    if config.get("rescale_betas_zero_snr"):
        if prediction == "epsilon":
            raise ConfigError(
                f"the scheduler of {where} leaves no signal at the last step "
                "(rescale_betas_zero_snr), where epsilon does not determine the image",
                where="model.base",
                hint="choose a base that predicts v, or one whose schedule is not rescaled",
            )
        abar = zero_terminal_snr(abar)
    return NoiseSchedule(abar=abar), cast(Prediction, prediction)


def _stage_c(config: Mapping[str, Any], where: str) -> NoiseSchedule:
    told = float(config.get("scaler", 1.0)), float(config.get("s", S))
    if told != (1.0, S):
        raise ConfigError(
            f"the scheduler of {where} has scaler {told[0]:g} and s {told[1]:g}",
            where="model.base",
            hint=f"choose a stage C whose scheduler has scaler 1 and s {S}, as the published one",
        )
    return stage_c_schedule()


def zero_terminal_snr(abar: Float[Tensor, " T"]) -> Float[Tensor, " T"]:
    """Shift and scale sqrt(abar) so that it ends at 0 and starts where it did.

    Source: Lin et al., 2305.08891, algorithm 1.
    """
    root = abar.sqrt()
    return ((root - root[-1]) * root[0] / (root[0] - root[-1])).square()


def _betas(config: Mapping[str, Any], where: str) -> Float[Tensor, " T"]:
    if config.get("trained_betas") is not None:
        return torch.tensor(config["trained_betas"], dtype=torch.float64)
    kind = config.get("beta_schedule")
    if kind not in BETAS or "num_train_timesteps" not in config:
        raise ConfigError(
            f"the scheduler of {where} ({config.get('_class_name')}) has beta_schedule '{kind}'",
            where="model.base",
            hint=f"choose a base with a discrete noise schedule; {nearest(str(kind), BETAS)}",
        )
    steps = int(config["num_train_timesteps"])
    if kind == "squaredcos_cap_v2":
        return _cosine_betas(steps)
    start, end = float(config["beta_start"]), float(config["beta_end"])
    if kind == "linear":
        return torch.linspace(start, end, steps, dtype=torch.float64)
    return torch.linspace(start**0.5, end**0.5, steps, dtype=torch.float64).square()


def _cosine_betas(steps: int) -> Float[Tensor, " T"]:
    """abar(u) = cos^2((u + 0.008) / 1.008 * pi / 2), beta capped at 0.999: 2102.09672, eq. 17."""
    u = torch.arange(steps + 1, dtype=torch.float64) / steps
    abar = torch.cos((u + 0.008) / 1.008 * math.pi / 2).square()
    return (1 - abar[1:] / abar[:-1]).clamp(max=0.999)
