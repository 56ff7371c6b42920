"""Every method with every loss that fits it, built the way a configuration builds it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import log
from typing import Any

import pytest
import torch

from diffpref.catalogue import build_objective, method_parameters
from diffpref.draws import Draws
from diffpref.methods import METHODS
from diffpref.parts import PARTS
from diffpref.schedule import NoiseSchedule
from diffpref.steps import StepPlan
from diffpref.toolkit import Toolkit
from diffpref.train.backward import accumulate
from diffpref.types import AnyObjective, Loss, Nets, PreferenceBatch
from tests.methods import windows

BETA = 20.0
"""Small enough that toy differences do not saturate a sigmoid."""

SETTINGS: dict[str, dict[str, Any]] = {
    "dspo": {"beta": 0.5},
    "linear_dpo": {"beta": 1.0},
    "mapo": {"beta": 0.1, "scale": 0.05},
    "inpo": {"steps": 3},
    "smpo": {"steps": 3, "gamma": 2.0},
    "nft": {"beta": 0.7},
    "ddpo": {"range": 0.3},
    "grpo": {"range": 0.3},
    "draft": {"steps": 3},
    "alignprop": {"low": 0.2, "high": 0.8},
}
"""Method -> hyper-parameters for toy networks, where BETA alone does not do."""

STARTS: dict[str, float] = {
    **dict.fromkeys(["diffusion_dpo", "inpo", "smpo", "ncp_dpo", "rethinking_dpo", "sdpo"], log(2)),
    **dict.fromkeys(["tailorpo", "spo", "gradspo", "lpo", "d3po", "ppd"], log(2)),
    "diffusion_kto": 0.5,
    "dmpo": -log(2) - 0.5 * log(0.99 * 0.01),
    "alpha_dpo": (0.5**0.9999 - 0.0001 - 0.9999 * 0.5) / (0.9999 * -0.0001),
    "brier": 0.25,
    "alpha_divergence": (0.5**0.9999 - 0.0001 - 0.9999 * 0.5) / (0.9999 * -0.0001),
    "logistic": log(2),
    "cross_entropy": log(2),
    "robust": log(2),
    "hinge": 1.0,
    "squared": 0.25,
    "exo": -log(2) - 0.5 * log(0.99 * 0.01),
}
"""Loss of an unmoved policy, by loss put in place or else by method; the rest have none."""

STEP_METHODS = ["tailorpo", "spo", "gradspo", "lpo"]
PROMPT_METHODS = ["refl", "draft", "alignprop"]

EXEMPT: dict[int, dict[str, str]] = {
    2: {
        **dict.fromkeys(["rank_dpo", "nft"], "every place in the list has its own noise"),
        **dict.fromkeys(STEP_METHODS, "the order of a pair of candidates is its label"),
        **dict.fromkeys(["ddpo", "grpo"], "a row is a single step"),
        **dict.fromkeys(PROMPT_METHODS, "a prompt has one image"),
    },
    4: dict.fromkeys(
        [*STEP_METHODS, "d3po", "ddpo", "grpo"], "everything was drawn when it was sampled"
    ),
    5: {
        "linear_dpo": "its value is not what it descends",
        "beta_dpo": "its beta follows the margins",
        "nft": "its divisor is not what it descends",
    },
    6: dict.fromkeys(
        [*STEP_METHODS, "d3po", "ddpo", "grpo"], "what it learns from was sampled without gradient"
    ),
    8: {
        "diffusion_kto": "its baseline is the batch's",
        "beta_dpo": "its beta and selection are the batch's",
    },
    9: dict.fromkeys(PROMPT_METHODS, "prompts have no weights"),
    10: {
        "linear_dpo": "its weight is not differentiated",
        "diffusion_kto": "its baseline is not differentiated",
        "beta_dpo": "its beta is not differentiated",
        "sdpo": "its guard changes the gradient only",
        **dict.fromkeys(PROMPT_METHODS, "the steps before the cut are not differentiated"),
        "nft": "its divisor is not differentiated",
        "inpo": "the inversion is not differentiated",
        "smpo": "the inversion is not differentiated",
    },
}
"""Law -> methods it does not hold for, and why."""

IMAGES = {"images": 2, "pairs": 2, "lists": 3, "unpaired": 1, "steps": 2, "walks": 2, "prompts": 2}


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
        return build_objective(self.method, kit, settings | SETTINGS.get(self.method, {}), parts)

    @property
    def start(self) -> float | None:
        return STARTS.get(self.loss or self.method)

    def exempt(self, law: int) -> bool:
        return self.method in EXEMPT[law]

    def obeys(self, law: int) -> None:
        """Skip the test of a law that this method is exempt from by name."""
        if self.exempt(law):
            pytest.skip(f"{self.method} is exempt: {EXEMPT[law][self.method]}")


CASES = (
    [Case(method=name) for name in METHODS]
    + [Case(method="diffusion_dpo", loss=loss) for loss in PARTS["loss"] if loss in STARTS]
    + [Case(method=method, loss="hinge") for method in ("tailorpo", "spo", "d3po")]
)


def _name(case: Case) -> str:
    return f"{case.method}-{case.loss}" if case.loss else case.method


@pytest.fixture(params=CASES, ids=_name)
def case(request: pytest.FixtureRequest) -> Case:
    return request.param


@pytest.fixture
def objective(case: Case, kit: Toolkit) -> AnyObjective:
    return case.build(kit)


@pytest.fixture
def batch_for(
    case: Case,
    make_batch: Callable[..., PreferenceBatch],
    make_net: Callable[..., Any],
    schedule: NoiseSchedule,
    plan: StepPlan,
) -> Callable[..., Any]:
    """Return a maker of windows of b prompts of what the method learns from."""
    unit = METHODS[case.method].data
    sampler = make_net(5, near=make_net(1))

    def make(b: int, **options: Any) -> Any:
        batch = make_batch(b, IMAGES[unit], **options)
        if unit == "steps":
            return windows.step_pairs(batch, schedule, plan)
        if unit == "walks":
            graded = case.method != "d3po"
            return windows.transitions(batch, schedule, plan, sampler, graded=graded)
        if unit == "prompts":
            return windows.prompts(batch)
        if unit == "lists":
            return replace(batch, score=batch.score + torch.tensor([[0.25, 0.5, 0.0]]))
        if unit == "unpaired":
            return replace(batch, score=(torch.arange(b)[:, None] % 2 == 0).float())
        return batch

    return make


@pytest.fixture
def nets(case: Case, make_net: Callable[..., Any]) -> Nets:
    """A policy near its reference, both of which could receive gradients."""
    reference = make_net(1)
    policy = make_net(2, near=reference)
    return Nets(policy, None if METHODS[case.method].reference == "refused" else reference)


@pytest.fixture(scope="session")
def gradient() -> Callable[..., tuple[Loss, list[Any]]]:
    """Return (loss, gradient of every policy parameter) of one optimizer step."""

    def run(
        objective: AnyObjective, nets: Nets, batch: Any, **options: Any
    ) -> tuple[Loss, list[Any]]:
        policy: Any = nets.policy
        policy.zero_grad(set_to_none=True)
        draws = Draws(seed=options.pop("seed", 0), positions=batch.positions)
        loss = accumulate(objective, nets, batch, draws, **options)
        return loss, [parameter.grad.clone() for parameter in policy.parameters()]

    return run
