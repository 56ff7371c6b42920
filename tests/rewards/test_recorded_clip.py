"""The CLIP host against numbers of open_clip, kept so that neither library's change goes unseen.

Recorded in float64 with open_clip 3.3.0's own network on the weights and inputs of `planted`.
"""

import pytest
import torch
from torch import Tensor

from diffpref.rewards.hf_clip import host
from diffpref.rewards.state import Stored
from diffpref.rewards.tokenizers import END, START
from tests.rewards.planted import noise, planted
from tests.rewards.tiny import clip_net, plain, to_open_clip

WORDS = ([START, 320, 736, 2368, END], [START, 320, 1929, 525, 320, 8252, 267, END])

RECORDED = {
    "gelu": (
        (
            (7.7955333046, 0.2097689117, -0.4996029011, -5.1603987329),
            (5.9641769453, -0.4879806797, 1.6688864761, -2.7836015087),
        ),
        (
            (3.2124713065, 0.2175297457, 1.1979076684, 2.6029526891),
            (1.1996921368, 1.1326276641, 1.4168881443, 1.3423590376),
        ),
    ),
    "quick_gelu": (
        (
            (7.8159456287, 0.2235215999, -0.4949870535, -5.1625437670),
            (5.9598817930, -0.4923483094, 1.6518404589, -2.7857843276),
        ),
        (
            (3.2097663915, 0.2176550170, 1.1942651493, 2.6119752014),
            (1.2000506639, 1.1157648349, 1.4161102057, 1.3375948184),
        ),
    ),
}
"""By activation: the first numbers of two pictures' features, and of two prompts'."""


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    shapes = to_open_clip(plain(clip_net()))
    return planted({name: tuple(value.shape) for name, value in shapes.items()})


@pytest.mark.parametrize("act", RECORDED)
@torch.no_grad()
def test_features_are_the_recorded_ones_whatever_fills_a_prompt(
    act: str, state: dict[str, Tensor]
) -> None:
    stored = Stored(state=dict(state), files=(), config={}, where="here")
    net = host(stored, quick_gelu=act == "quick_gelu", expect=None)[0].double()
    images, texts = (torch.tensor(each, dtype=torch.float64) for each in RECORDED[act])
    found = net.encode_image(noise("seen", (2, 3, 28, 28)))[:, :4]
    assert torch.allclose(found, images, rtol=0, atol=2e-8)
    for filler in (0, END):
        ids = torch.tensor([row + [filler] * (77 - len(row)) for row in WORDS])
        assert torch.allclose(net.encode_text(ids)[:, :4], texts, rtol=0, atol=2e-8)
