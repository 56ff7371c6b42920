"""Our objectives against numbers recorded from the released scripts' mathematics."""

import json
from typing import Any

import pytest
import torch

from diffpref.catalogue import build_objective
from diffpref.methods import METHODS
from diffpref.models.embedder import UNetEmbedder, _truncated
from diffpref.models.family import FAMILIES
from diffpref.models.unet import UNetDenoiser
from diffpref.schedule import NoiseSchedule, scaled_linear
from diffpref.toolkit import Toolkit
from diffpref.train.backward import accumulate
from diffpref.types import Conditioning, Nets, PreferenceBatch
from tests.parity.common import POSITIONS, draws, inputs, make_unet
from tests.parity.record import FIXTURE, MOVED, MOVED_FAR, SCRIPTS

SETTINGS: dict[str, dict[str, Any]] = {
    "diffusion_dpo": {"beta": 5000.0},
    "inpo": {"beta": 2000.0, "grid": "legacy"},
    "smpo": {"beta": 2000.0, "steps": 5, "grid": "legacy"},
    "ncp_dpo": {"beta": 5000.0},
    "mapo": {},
    "diffusion_kto": {"beta": 10000.0},
}


def _denoiser(family: str, schedule: NoiseSchedule, moved: float) -> UNetDenoiser:
    return UNetDenoiser(
        net=make_unet(family, moved=moved).requires_grad_(True),
        family=FAMILIES[family],
        prediction="epsilon",
        schedule=schedule,
        compute=torch.float64,
        autocast=False,
    )


def _batch(family: str, unit: str) -> PreferenceBatch:
    images = 1 if unit == "unpaired" else 2
    found = inputs(family, images)
    score = (
        torch.tensor([[1.0], [0.0], [1.0], [0.0]]) if images == 1 else torch.eye(2)[:1].repeat(4, 1)
    )
    return PreferenceBatch(
        latents=found["latents"],
        cond=Conditioning(
            text=found["text"], pooled=found.get("pooled"), time_ids=found.get("time_ids")
        ),
        score=score,
        positions=POSITIONS,
    )


@pytest.mark.parity
@pytest.mark.parametrize("family", ["sd15", "sdxl"])
@pytest.mark.parametrize("name", SCRIPTS)
def test_a_step_costs_what_the_released_script_says(name: str, family: str) -> None:
    schedule = scaled_linear()

    def embedder(layer: str) -> UNetEmbedder:
        return UNetEmbedder(net=_truncated(make_unet(family), layer), family=FAMILIES[family])

    kit = Toolkit(schedule=schedule, embedder=embedder)
    objective = build_objective(name, kit, SETTINGS[name], {})
    policy = _denoiser(family, schedule, MOVED_FAR if name == "ncp_dpo" else MOVED)
    reference = None if METHODS[name].reference == "refused" else _denoiser(family, schedule, 0.0)
    batch = _batch(family, METHODS[name].data)
    loss = accumulate(objective, Nets(policy, reference), batch, draws())
    recorded = json.loads(FIXTURE.read_text())[name][family]
    assert loss.metrics["loss"].tolist() == pytest.approx(recorded, rel=1e-5)
    assert max(recorded) - min(recorded) > 1e-3 * max(recorded)
    assert all(
        parameter.grad is not None
        for parameter in policy.net.parameters()
        if parameter.requires_grad
    )


@pytest.mark.parity
def test_the_recorder_still_gives_the_recorded_numbers() -> None:
    """A change of the recorder without a new recording would go unnoticed otherwise."""
    recorded = json.loads(FIXTURE.read_text())
    for name, script in SCRIPTS.items():
        for family, values in recorded[name].items():
            assert script(family).tolist() == pytest.approx(values, rel=1e-9)


def test_methods_that_claim_parity_have_it() -> None:
    claimed = {name for name, method in METHODS.items() if method.status == "parity"}
    assert claimed == set(SCRIPTS)
