"""The stock UNet as a Denoiser: casts, extra conditioning, and epsilon from v."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from diffpref.models.bundle import Bundle
from diffpref.models.family import Family
from diffpref.models.graphs import Graphs
from diffpref.models.noising import Prediction
from diffpref.models.user_adapter import UserAdapter, user_adapter_of
from diffpref.numerics import widen
from diffpref.schedule import NoiseSchedule
from diffpref.types import Conditioning, Latents, Steps, cast


@dataclass(frozen=True, kw_only=True)
class UNetDenoiser:
    """Predicts epsilon with `net`: the UNet itself or whatever wraps it (DDP, a compiled module).

    `compute` is the precision of the forward pass; `autocast` says that some parameters are wider
    than that. `users` is the adapter inside `net`, if it has one. `graphs` replays passes without
    gradient. Implements `Denoiser`.
    """

    net: nn.Module
    family: Family
    prediction: Prediction
    schedule: NoiseSchedule
    compute: torch.dtype
    autocast: bool
    users: UserAdapter | None = field(default=None, repr=False)
    graphs: Graphs | None = field(default=None, repr=False)

    def __call__(self, x_t: Latents, t: Steps, cond: Conditioning, /) -> Latents:
        """Return epsilon, at least as wide as the forward pass, on the network's device."""
        device = next(self.net.parameters()).device
        x_t, t = x_t.to(device), t.to(device)
        told = cast(cond, device, self.compute)
        # the gate stays as exact as it came
        gate = None if cond.gate is None else cond.gate.to(device)
        autocast = torch.autocast(device.type, self.compute, enabled=self.autocast)
        with autocast, self._told(replace(told, gate=gate)):
            inputs = self.family.inputs(t, told, self.schedule, self.compute)
            x = x_t.to(self.compute)
            output = self._run(x, {**inputs, "return_dict": False})
        if self.prediction == "epsilon":
            return output
        return self.schedule.epsilon_from_velocity(widen(output), widen(x_t), t)

    def _run(self, x: Latents, inputs: Mapping[str, Any]) -> Latents:
        return self.net(x, **inputs)[0] if self.graphs is None else self.graphs(self.net, x, inputs)

    def _told(self, cond: Conditioning) -> AbstractContextManager[None]:
        if self.users is not None:
            return self.users.told(cond.user, cond.gate)
        if cond.user is not None:
            raise ValueError("the rows have users and the network has no user adapter")
        return nullcontext()


def needs_autocast(net: nn.Module, compute: torch.dtype) -> bool:
    """Tell whether weights are wider than a half precision they are computed in.

    Weights of 8 bits are widened to it where they are used.
    """
    dtypes = {value.dtype for value in net.parameters() if value.is_floating_point()}
    return compute in (torch.float16, torch.bfloat16) and dtypes != {compute}


def make_denoiser(net: nn.Module, bundle: Bundle) -> UNetDenoiser:
    """Return the denoiser of a network: the bundle's UNet, its wrapper, or a frozen copy of it.

    Every denoiser of one bundle computes alike, so that a policy equal to its reference measures
    equal. Pass the wrapper for the policy only: reference passes belong to the bare module, whose
    forward a DDP reducer does not see. Call after `make_adapter`, which decides on autocast.
    """
    return UNetDenoiser(
        net=net,
        family=bundle.family,
        prediction=bundle.prediction,
        schedule=bundle.schedule,
        compute=bundle.dtype,
        autocast=needs_autocast(bundle.unet, bundle.dtype),
        users=user_adapter_of(net),
        graphs=bundle.graphs,
    )
