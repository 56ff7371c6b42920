"""`diffpref train` whose numbers go bad at chosen steps on chosen ranks: what test_nan.py launches.

The plan is JSON in the variable POISON: {step: [rank, place]}.
"""

import json
import os
import sys
from collections.abc import Callable
from typing import Any

from diffpref.cli import main
from diffpref.train import step as step_module
from diffpref.types import Loss, Nets

PLACES = ("prediction", "reference", "loss", "gradient")
NAN = float("nan")


def broken(net: Callable[..., Any]) -> Callable[..., Any]:
    """Return a network whose every number is NaN."""
    return lambda *given: net(*given) * NAN


def poison(plan: dict[int, tuple[int, str]], rank: int) -> None:
    """Make the steps of the plan go bad, counted from 0, if they are this rank's."""
    real, calls = step_module.accumulate, [0]

    def accumulate(objective: Any, nets: Nets, *given: Any, **more: Any) -> Loss:
        whose, place = plan.get(calls[0], (-1, ""))
        calls[0] += 1
        if whose != rank:
            return real(objective, nets, *given, **more)
        if place == "prediction":
            nets = nets._replace(policy=broken(nets.policy))
        if place == "reference" and nets.reference is not None:
            nets = nets._replace(reference=broken(nets.reference))
        loss = real(objective, nets, *given, **more)
        if place == "loss":  # of one process only: the gradients of all are sound
            return loss._replace(value=loss.value * NAN)
        if place == "gradient":
            spoil_gradients(nets)
        return loss

    step_module.accumulate = accumulate  # pyright: ignore[reportAttributeAccessIssue]


def spoil_gradients(nets: Nets) -> None:
    policy: Any = nets.policy
    for parameter in policy.net.parameters():
        if parameter.grad is not None:
            parameter.grad.fill_(NAN)


if __name__ == "__main__":
    told = json.loads(os.environ["POISON"])
    poison({int(k): (v[0], v[1]) for k, v in told.items()}, int(os.environ.get("RANK", "0")))
    sys.exit(main(["train", *sys.argv[1:]]))
