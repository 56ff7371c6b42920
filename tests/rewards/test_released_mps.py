"""MPS's cross model against numbers of its released module.

Recorded once in float64 with `cross_modeling.py` of MPS's repository (commit be9027f) on the
weights and inputs of `planted`. No code of it is here.
"""

import pytest
import torch
from torch import Tensor

from diffpref.rewards.mps_cross import CrossModel, CrossSizes
from tests.rewards.planted import noise, planted

KEPT = torch.tensor([[1, 1, 0, 1, 0, 0, 1], [1, 0, 0, 0, 0, 0, 0]]).bool()

RECORDED = {
    (0, 0): (-10.746435048, 3.993582922, 1.865139440, -3.768973292),
    (0, 4): (7.314839440, 0.229299981, 4.147906161, 3.278329419),
    (1, 0): (-0.189326405, 1.786237364, 10.311213522, -18.027582093),
    (1, 3): (8.771036756, 1.389624476, -0.208854813, -18.737957975),
}
"""By picture and token, the first numbers of what comes out."""


@pytest.fixture(scope="module")
def net() -> CrossModel:
    found = CrossModel(CrossSizes(width=64, layers=2, heads=2, head=32, inner=128))
    state = planted({name: tuple(value.shape) for name, value in found.state_dict().items()})
    state |= {n: torch.zeros_like(v) for n, v in state.items() if n.endswith("norm.bias")}
    found.load_state_dict(state)
    return found.double()


@torch.no_grad()
def _out(net: CrossModel, kept: Tensor) -> dict[tuple[int, int], list[float]]:
    found = net(noise("image", (2, 5, 64)), noise("text", (2, 7, 64)), kept)
    return {place: found[place][:4].tolist() for place in RECORDED}


def test_the_cross_model_gives_the_released_modules_numbers(net: CrossModel) -> None:
    found = _out(net, KEPT)
    for place, told in RECORDED.items():
        assert found[place] == pytest.approx(told, abs=2e-7)  # its angles are kept in float32


def test_another_mask_gives_other_numbers(net: CrossModel) -> None:
    found = _out(net, torch.ones_like(KEPT))
    for place, told in RECORDED.items():
        assert found[place] != pytest.approx(told, abs=1e-2)
