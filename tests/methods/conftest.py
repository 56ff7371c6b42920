"""Every method with every loss that fits it, built the way a configuration builds it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from diffpref.catalogue import build_objective, method_parameters
from diffpref.draws import Draws
from diffpref.methods import METHODS
from diffpref.parts import PARTS
from diffpref.toolkit import Toolkit
from diffpref.train.backward import accumulate
from diffpref.types import AnyObjective, Loss, Nets, PreferenceBatch

BETA = 20.0
"""Small enough that toy differences do not saturate a sigmoid."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A method, and the loss put in place of its own if any."""

    method: str
    loss: str | None = None

    def build(self, kit: Toolkit) -> AnyObjective:
        settings: dict[str, Any] = (
            {"beta": BETA} if "beta" in method_parameters(self.method) else {}
        )
        parts: dict[str, Any] = {"loss": self.loss} if self.loss else {}
        return build_objective(self.method, kit, settings, parts)

    @property
    def compares(self) -> bool:
        return METHODS[self.method].reference == "needed"


CASES = [Case(method=name) for name in METHODS] + [
    Case(method="diffusion_dpo", loss=loss) for loss in PARTS["loss"] if loss != "likelihood"
]


def _name(case: Case) -> str:
    return f"{case.method}-{case.loss}" if case.loss else case.method


@pytest.fixture(params=CASES, ids=_name)
def case(request: pytest.FixtureRequest) -> Case:
    return request.param


@pytest.fixture
def objective(case: Case, kit: Toolkit) -> AnyObjective:
    return case.build(kit)


@pytest.fixture(scope="session")
def gradient() -> Callable[..., tuple[Loss, list[Any]]]:
    """Return (loss, gradient of every policy parameter) of one optimizer step."""

    def run(
        objective: AnyObjective, nets: Nets, batch: PreferenceBatch, **options: Any
    ) -> tuple[Loss, list[Any]]:
        policy: Any = nets.policy
        policy.zero_grad(set_to_none=True)
        draws = Draws(seed=options.pop("seed", 0), positions=batch.positions)
        loss = accumulate(objective, nets, batch, draws, **options)
        return loss, [parameter.grad.clone() for parameter in policy.parameters()]

    return run
