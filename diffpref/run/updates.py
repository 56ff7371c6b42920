"""What updates a run's weights."""

import torch

from diffpref.config.schema import RunConfig
from diffpref.errors import ConfigError
from diffpref.train.optim import Updates, make_updates
from diffpref.train.pieces import Parameters
from diffpref.train.precision import PRECISIONS


def updates_of(config: RunConfig, parameters: Parameters, *, processes: int) -> Updates:
    """Return what updates the parameters.

    Gradients of weights of 16 bits add up in float32 where there are several to a step: 128 small
    numbers added in bfloat16 are not their sum. With several processes they stay in 16 bits, as
    they are averaged.

    Raises:
        ConfigError: weights are to be updated in the backward pass, by several processes; or a
            package is missing.
    """
    settings = config.optimizer
    if settings.in_backward and processes > 1:
        what = "gradients of several processes are averaged before weights are updated"
        hint = "start one process, or set optimizer.in_backward: false"
        raise ConfigError(what, where="optimizer.in_backward", hint=hint)
    if wide_gradients(config) and processes == 1:
        for weight in parameters.values():
            weight.grad_dtype = torch.float32
    return make_updates(
        settings.name,
        parameters,
        settings.model_dump(include={"lr", "betas", "eps", "weight_decay"}),
        precision=config.adapter.precision,
        seed=config.seed,
        in_backward=settings.in_backward,
    )


def wide_gradients(config: RunConfig) -> bool:
    """Tell whether gradients are wider than the weights they are of."""
    several = config.loop.micro_batches > 1 or config.loop.rows_per_pass is not None
    return several and PRECISIONS[config.adapter.precision].narrow
