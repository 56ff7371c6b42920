"""Qwen-VL networks hosted by transformers: their config, their patches, one batch through them."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from jaxtyping import Float, Int
from torch import Tensor

from diffpref.errors import DataError, nearest
from diffpref.rewards.chat import Rows
from diffpref.rewards.qwen_sight import Patching

FAMILIES = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")


def config_of(told: Mapping[str, Any], where: str, *, families: tuple[str, ...] = FAMILIES) -> Any:
    """Return the config a folder's config.json describes; flat and nested ones are read.

    Raises:
        DataError: another family, or fields that are no config.
    """
    from transformers import CONFIG_MAPPING

    family = str(told.get("model_type"))
    if family not in families:
        hint = f"give a folder of this family; {nearest(family, families)}"
        raise DataError(f"config.json says model_type {family}", where=where, hint=hint)
    try:
        config = CONFIG_MAPPING[family].from_dict(deepcopy(dict(told)))
        patching_of(config)
    except (StrictDataclassError, TypeError, ValueError, KeyError, AttributeError) as error:
        what = f"config.json is not a {family} config: {str(error).splitlines()[0]}"
        raise DataError(what, where=where, hint="fetch config.json again") from error
    return config


def patching_of(config: Any) -> Patching:
    """Return how the vision tower of a config cuts pictures."""
    vision = config.vision_config
    return Patching(
        side=vision.patch_size, merge=vision.spatial_merge_size, frames=vision.temporal_patch_size
    )


def hidden(
    net: Any,
    seen: Float[Tensor, "n 3 y x"],
    rows: Rows,
    positions: Int[Tensor, "3 n l"],
    patching: Patching,
) -> Float[Tensor, "n l d"]:
    """Return the last hidden states of a picture and a conversation per row.

    Positions are given, never left to the network, which would compute them from the ids and
    keep an offset from one call to the next.
    """
    patches, grid = patching.cut(seen)
    return net(
        input_ids=rows.ids,
        attention_mask=rows.mask,
        position_ids=positions,
        pixel_values=patches,
        image_grid_thw=grid,
        use_cache=False,
    ).last_hidden_state
