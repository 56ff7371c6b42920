"""The BLIP host against a naive BLIP and transformers' own, in float64."""

import pytest
import torch
from torch import Tensor, nn

from diffpref.rewards.blip import MATCHING, RANKING, Blip, host
from diffpref.rewards.blip_keys import HUGGING_FACE, SALESFORCE
from diffpref.rewards.state import State, Stored, under
from tests.rewards import blip_shapes, naive_blip
from tests.rewards.blip_shapes import TINY_SIZE
from tests.rewards.tiny_blip import hub_net

IDS = [2, 41, 17, 60, 33, 3]
FILLED = torch.tensor([[*IDS, 0, 0, 0], [2, 9, 3, 0, 0, 0, 0, 0, 0]])


def stored(state: State) -> Stored:
    return Stored(state=state, files=(), config={}, where="here")


@pytest.fixture(scope="module")
def state() -> State:
    return blip_shapes.filled(blip_shapes.imagereward_shapes(TINY_SIZE))


@pytest.fixture(scope="module")
def net(state: State) -> Blip:
    return host(stored(state), RANKING)[0].double()


@pytest.fixture(scope="module")
def plain(state: State) -> State:
    return under(state, "blip.")


@pytest.fixture(scope="module")
def seen() -> Tensor:
    side = TINY_SIZE.grid * TINY_SIZE.patch
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1)).double()


def test_the_image_tower_equals_a_naive_one(net: Blip, plain: State, seen: Tensor) -> None:
    for row, found in enumerate(net.look(seen)):
        assert torch.allclose(found, naive_blip.look(plain, seen[row]), atol=1e-10)


def test_bert_reads_while_looking_as_a_naive_one_does(
    net: Blip, plain: State, seen: Tensor
) -> None:
    found = net.read(FILLED, net.look(seen))
    for row, ids in enumerate((IDS, [2, 9, 3])):
        naive = naive_blip.read(plain, ids, naive_blip.look(plain, seen[row]))
        assert torch.allclose(found[row], naive[0], atol=1e-10)


def test_bert_reads_alone_as_a_naive_one_does(net: Blip, plain: State) -> None:
    found = net.read(FILLED)
    assert torch.allclose(found[0], naive_blip.read(plain, IDS)[0], atol=1e-10)
    told = naive_blip.linear(plain, "text_proj", found)
    assert torch.allclose(net.encode_text(FILLED), told, atol=1e-10)


def test_the_contrastive_image_is_the_projected_class_token(
    net: Blip, plain: State, seen: Tensor
) -> None:
    told = naive_blip.linear(plain, "vision_proj", naive_blip.look(plain, seen[0])[0])
    assert torch.allclose(net.encode_image(seen)[0], told, atol=1e-10)


def test_another_epsilon_of_the_image_tower_would_be_noticed(
    net: Blip, plain: State, seen: Tensor
) -> None:
    norms = [each for each in net.vision_model.modules() if isinstance(each, nn.LayerNorm)]
    assert {each.eps for each in norms} == {1e-6}
    other = naive_blip.look(plain, seen[0], eps=1e-5)
    assert float((net.look(seen)[0] - other).abs().max()) > 1e-7
    text = [each for each in net.text_encoder.modules() if isinstance(each, nn.LayerNorm)]
    assert {each.eps for each in text} == {1e-12}


def test_reading_forwards_only_would_be_noticed(net: Blip, plain: State, seen: Tensor) -> None:
    patches = net.look(seen)
    found = net.read(FILLED, patches)[0]
    forwards = net.text_encoder(
        input_ids=FILLED,
        attention_mask=FILLED.ne(0).long(),
        encoder_hidden_states=patches,
        is_decoder=True,
    ).last_hidden_state[0, 0]
    causal = naive_blip.read(plain, IDS, patches[0], causal=True)[0]
    assert torch.allclose(forwards, causal, atol=1e-10)
    assert float((found - forwards).abs().max()) > 1e-2


def test_a_filling_word_inside_the_prompt_is_read(net: Blip, plain: State) -> None:
    ids = [2, 41, 0, 33, 3]
    found = net.read(torch.tensor([[*ids, 0, 0]]))[0]
    assert torch.allclose(found, naive_blip.read(plain, ids)[0], atol=1e-10)


def _read(net: Blip, seen: Tensor) -> Tensor:
    return net.read(FILLED, net.look(seen))


def test_every_layout_gives_the_same_network(net: Blip, plain: State, seen: Tensor) -> None:
    checkpoint = blip_shapes.filled(blip_shapes.salesforce_shapes(TINY_SIZE), seed=5) | plain
    theirs, layout = host(stored(checkpoint), MATCHING)
    assert layout == SALESFORCE
    assert torch.equal(_read(theirs.double(), seen), _read(net, seen))
    wrapped = {f"module.{name}": value for name, value in checkpoint.items()}
    assert host(stored(wrapped), MATCHING)[1] == SALESFORCE


def test_transformers_own_class_agrees(seen: Tensor) -> None:
    theirs = hub_net(seed=3).double()
    net, layout = host(stored(dict(theirs.state_dict())), MATCHING)
    net = net.double()
    told = {"input_ids": FILLED, "pixel_values": seen, "attention_mask": FILLED.ne(0).long()}
    with torch.no_grad():
        matching = theirs(**told).itm_score
        contrast = theirs(**told, use_itm_head=False).itm_score
    assert layout == HUGGING_FACE
    assert torch.allclose(net.head(_read(net, seen)), matching, atol=1e-10)
    image, text = net.encode_image(seen), net.encode_text(FILLED)
    unit = nn.functional.normalize
    assert torch.allclose(unit(image, dim=1) @ unit(text, dim=1).T, contrast, atol=1e-10)


def test_positions_are_resized_as_transformers_does_it() -> None:
    theirs = hub_net(seed=4).double()
    side = 3 * TINY_SIZE.patch
    net = host(stored(dict(theirs.state_dict())), MATCHING, side=side)[0]
    large = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(2)).double()
    with torch.no_grad():
        found = theirs.vision_model(pixel_values=large, interpolate_pos_encoding=True)
    assert net.side == side
    assert torch.allclose(net.double().look(large), found.last_hidden_state, atol=1e-5)


def test_positions_of_the_same_grid_are_left_alone(state: State, net: Blip, seen: Tensor) -> None:
    again = host(stored(state), RANKING, side=net.side)[0].double()
    assert torch.equal(again.look(seen), net.look(seen))
