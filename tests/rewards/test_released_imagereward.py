"""ImageReward's network against numbers of its released modules.

Recorded once in float64 with `vit.py`, `med.py` and the MLP of ImageReward's repository (commit
c1392c6) under transformers 4.57.6, on the weights and inputs of `planted`. No code of it is here.
"""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from diffpref.rewards.blip import RANKING, Blip, host
from diffpref.rewards.cards.blip import DEVIATION, MEAN
from diffpref.rewards.state import Stored
from tests.rewards.blip_shapes import TINY_SIZE, imagereward_shapes
from tests.rewards.planted import noise, planted

IDS = torch.tensor([[2, 41, 17, 60, 33, 3, 0, 0, 0], [2, 9, 3, 0, 0, 0, 0, 0, 0]])

PATCHES = {
    (0, 0): (-0.9312452538, 0.7960186356, 1.2653002046),
    (0, 4): (-0.6685343427, -0.3583804681, -0.6017453969),
    (1, 2): (-0.4675635267, -0.9548177036, 0.2518342708),
}
"""By picture and token, the first numbers of what the image tower makes of it."""

FUSED = (
    (-0.2170394872, 0.0982375838, -1.0087692458, -1.6476062673),
    (-0.1796809350, -0.0086012772, -0.0735628921, -1.7060943466),
)
ALONE = (
    (-0.8042309146, 0.3555089663, -1.4693695620, -2.0394669194),
    (-0.4802040619, 0.2885843818, -0.5280254289, -0.8076995672),
)
REWARDS = (8.1504780475, 9.9550404747)


@pytest.fixture(scope="module")
def net() -> Blip:
    shapes = imagereward_shapes(replace(TINY_SIZE, ranking=(1024, 128, 64, 16, 1)))
    stored = Stored(state=planted(shapes), files=(), config={}, where="here")
    return host(stored, RANKING)[0].double()


@pytest.fixture(scope="module")
def seen() -> Tensor:
    side = TINY_SIZE.grid * TINY_SIZE.patch
    return noise("seen", (2, 3, side, side))


def near(found: Tensor, told: tuple[float, ...]) -> bool:
    return torch.allclose(found, torch.tensor(told, dtype=torch.float64), rtol=0, atol=2e-8)


@torch.no_grad()
def test_patches_words_and_rewards_are_those_of_the_released_modules(
    net: Blip, seen: Tensor
) -> None:
    patches = net.look(seen)
    for (picture, token), told in PATCHES.items():
        assert near(patches[picture, token, :3], told)
    words = net.read(IDS, patches)
    for row in (0, 1):
        assert near(words[row, :4], FUSED[row])
        assert near(net.read(IDS)[row, :4], ALONE[row])
    assert near((net.head(words)[:, 0] - MEAN) / DEVIATION, REWARDS)


@torch.no_grad()
def test_what_the_description_warns_of_gives_other_numbers(net: Blip, seen: Tensor) -> None:
    patches = net.look(seen)
    causal = net.text_encoder(
        input_ids=IDS,
        attention_mask=IDS.ne(0).long(),
        encoder_hidden_states=patches,
        is_decoder=True,
    ).last_hidden_state[:, 0]
    assert not near(causal[0, :4], FUSED[0])
    assert not near(net.read(torch.where(IDS == 0, 5, IDS), patches)[0, :4], FUSED[0])
