"""What the BLIP host takes: the published layouts at full size, and nothing that does not fit."""

import pytest
import torch
from torch import Tensor
from transformers import BlipConfig, BlipForImageTextRetrieval

from diffpref.errors import DataError
from diffpref.rewards.blip import MATCHING, RANKING, host
from diffpref.rewards.blip_keys import HUGGING_FACE, IMAGEREWARD, SALESFORCE
from diffpref.rewards.cards import SCORERS, blip
from diffpref.rewards.state import State, Stored, WeightsMismatchError, count
from tests.rewards import blip_shapes
from tests.rewards.blip_shapes import TINY_SIZE, Shapes


def stored(state: State) -> Stored:
    return Stored(state=state, files=(), config={}, where="here")


@pytest.fixture(scope="module")
def state() -> State:
    return blip_shapes.filled(blip_shapes.imagereward_shapes(TINY_SIZE))


def hollow(shapes: Shapes) -> Stored:
    return stored({name: torch.empty(shape, device="meta") for name, shape in shapes.items()})


RANKED = blip_shapes.published(large=True, grid=14)
FULL = [
    (blip_shapes.imagereward_shapes(RANKED), RANKING, IMAGEREWARD, 446_665_953, 224),
    (blip_shapes.salesforce_shapes(RANKED), MATCHING, SALESFORCE, blip.PRETRAINED, 224),
    *(
        (
            blip_shapes.salesforce_shapes(blip_shapes.published(large=large, grid=24)),
            MATCHING,
            SALESFORCE,
            expect,
            384,
        )
        for large, expect in ((True, blip.LARGE), (False, blip.BASE))
    ),
]


def test_transformers_full_size_class_is_filled_as_well() -> None:
    with torch.device("meta"):
        theirs = BlipForImageTextRetrieval(
            BlipConfig(vision_config={"image_size": 384}, text_config={"num_attention_heads": 12})
        )
    net, layout = host(stored(dict(theirs.state_dict())), MATCHING, expect=blip.BASE)
    assert (layout, net.side) == (HUGGING_FACE, 384)


@pytest.mark.parametrize(
    ("shapes", "head", "layout", "expect", "side"), FULL, ids=["ranked", "pretrained", "l", "b"]
)
def test_the_published_layouts_fill_the_network_of_full_size(
    shapes: Shapes, head: str, layout: str, expect: int, side: int
) -> None:
    net, found = host(hollow(shapes), head, side=side, expect=expect)
    assert (found, net.side) == (layout, side)
    assert sum(each.numel() for each in net.parameters()) == expect
    assert net.text_encoder.config.num_attention_heads == 12


def test_the_cards_state_the_numbers_of_the_full_size() -> None:
    sizes = {part.name: part.parameters for part in SCORERS["blip-itc"].parts}
    assert sizes["large-flickr"] == sizes["large-coco"] == blip.LARGE
    assert sizes["base-flickr"] == sizes["base-coco"] == blip.BASE
    assert sizes["blipscore"] == blip.PRETRAINED
    assert SCORERS["imagereward"].part("model").parameters == 446_665_953


def test_a_network_for_another_picture_size_has_the_published_count_after_resizing() -> None:
    shapes = blip_shapes.salesforce_shapes(RANKED)
    net = host(hollow(shapes), MATCHING, side=384, expect=blip.LARGE)[0]
    assert net.side == 384
    with pytest.raises(WeightsMismatchError, match="the published ones"):
        host(hollow(shapes), MATCHING, expect=blip.LARGE)


def damaged(state: State, **changes: Tensor | None) -> Stored:
    found = {name: value for name, value in state.items() if name not in changes}
    return stored(found | {name: value for name, value in changes.items() if value is not None})


def test_a_missing_tensor_is_named(state: State) -> None:
    for name, message in (
        ("blip.text_encoder.encoder.layer.1.crossattention.self.key.bias", r"1 missing.*key\.bias"),
        ("blip.visual_encoder.blocks.1.norm2.weight", r"1 missing.*layer_norm2\.weight"),
        ("blip.vision_proj.bias", r"1 missing: vision_proj\.bias"),
        ("mlp.layers.6.weight", r"mlp\.layers\.6\.weight' is missing"),
        ("blip.visual_encoder.pos_embed", "position_embedding' is missing"),
    ):
        with pytest.raises(WeightsMismatchError, match=message):
            host(damaged(state, **{name: None}), RANKING)


def test_only_position_ids_may_be_too_many(state: State) -> None:
    assert "blip.text_encoder.embeddings.position_ids" in state
    for name in ("blip.text_encoder.pooler.dense.bias", "blip.temp", "blip.itm_head.bias"):
        with pytest.raises(WeightsMismatchError, match="1 unexpected"):
            host(damaged(state, **{name: torch.zeros(2)}), RANKING)


def test_a_tensor_of_another_shape_is_refused(state: State) -> None:
    name = "blip.text_encoder.encoder.layer.0.output.dense.weight"
    with pytest.raises(WeightsMismatchError, match="size mismatch"):
        host(damaged(state, **{name: torch.zeros(3, 3)}), RANKING)


def test_positions_of_no_square_grid_are_refused(state: State) -> None:
    odd = damaged(state, **{"blip.visual_encoder.pos_embed": torch.zeros(1, 4, TINY_SIZE.width)})
    for side in (None, 48):
        with pytest.raises(WeightsMismatchError, match=r"position_embedding|unflatten"):
            host(odd, RANKING, side=side)


def test_each_scorer_wants_its_own_head(state: State) -> None:
    with pytest.raises(WeightsMismatchError, match=r"itm_head\.weight' is missing") as caught:
        host(stored(state), MATCHING)
    assert "imagereward needs ImageReward.pt" in str(caught.value)
    other = blip_shapes.filled(blip_shapes.salesforce_shapes(TINY_SIZE))
    with pytest.raises(WeightsMismatchError, match=r"mlp\.layers\.0\.weight' is missing"):
        host(stored(other), RANKING)


def test_other_models_are_refused() -> None:
    with pytest.raises(DataError, match="no BLIP weights in any known layout"):
        host(stored({"visual.conv1.weight": torch.zeros(1)}), RANKING)


def test_sizes_are_what_the_description_says() -> None:
    size = TINY_SIZE
    wanted = blip_shapes.shapes(size) | blip_shapes.linear("head", 2, size.text)
    assert "text_encoder.embeddings.position_ids" in wanted
    total = count(blip_shapes.filled(wanted)) - size.places
    matching = host(stored(blip_shapes.filled(blip_shapes.salesforce_shapes(size))), MATCHING)[0]
    assert sum(each.numel() for each in matching.parameters()) == total
    assert not any(each.requires_grad for each in matching.parameters())


def test_loading_leaves_the_weights_as_they_are(state: State) -> None:
    before = {name: value.clone() for name, value in state.items()}
    host(stored(state), RANKING, side=3 * TINY_SIZE.patch)[0].double()
    assert all(torch.equal(before[name], value) for name, value in state.items())
