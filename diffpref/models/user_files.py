"""User adapter files in the stock IP-Adapter layout, which plain diffusers loads.

    pipe.load_ip_adapter(folder, subfolder="", weight_name=FILE, image_encoder_folder=None)
    pipe.set_ip_adapter_scale(strength)
    pipe(prompt, ip_adapter_image_embeds=[torch.stack([e, e])[:, None]])

e is the user's vector; given twice, for both branches of guidance, as everything here samples.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open

from diffpref.errors import ConfigError
from diffpref.io import load_weights, save_tensors
from diffpref.models.memory import freeze
from diffpref.models.user_adapter import NAME, TOKENS, UserAdapter, user_adapter_of
from diffpref.models.user_attention import UserAttention
from diffpref.models.user_install import UserNet, add_user_adapter, sites

FILE = "user_adapter.safetensors"
FORMAT = "diffpref-user-adapter/1"
WEIGHT, NORM = "image_proj.proj.weight", "image_proj.norm.weight"


def save_user_adapter(
    folder: Path, net: UserNet, about: Mapping[str, str] | None = None, *, name: str = FILE
) -> Path:
    """Write a network's user adapter, and whatever is said about it into the file's header.

    Args:
        folder: where to; made when missing.
        net: the network.
        about: what the header says besides the format.
        name: of the file.

    Returns:
        The file.

    Raises:
        ConfigError: the network has none.
    """
    adapter = user_adapter_of(net)
    if adapter is None:
        hint = "train one with adapter.kind: user"
        raise ConfigError("the model has no user adapter", where="adapter.kind", hint=hint)
    tensors = {key: each.detach().cpu().contiguous() for key, each in adapter.stock().items()}
    folder.mkdir(parents=True, exist_ok=True)
    save_tensors(folder / name, tensors, {"format": "pt", "diffpref": FORMAT, **(about or {})})
    return folder / name


def load_user_adapter(net: UserNet, path: Path) -> UserAdapter:
    """Put a saved user adapter into a network, frozen: SD1.5, SDXL or Cascade's stage C.

    Args:
        net: the network, without a user adapter.
        path: the file, or the folder it is in.

    Returns:
        The adapter.

    Raises:
        ConfigError: the file is of another layout, or fits another network.
        DataError: damaged or missing.
    """
    file = path / FILE if path.is_dir() else path
    stored = load_weights(file)
    if WEIGHT not in stored or NORM not in stored or stored[WEIGHT].ndim != 2:
        hint = f"it should have {WEIGHT}, {NORM} and ip_adapter.1.to_k_ip.weight ..."
        raise ConfigError("is not a user adapter", where=str(file), hint=hint)
    rows, width = stored[WEIGHT].shape
    adapter = add_user_adapter(net, width=width, tokens=max(rows // len(stored[NORM]), TOKENS))
    own = adapter.stock()
    odd = sorted(own.keys() ^ stored.keys()) or [
        key for key in own if own[key].shape != stored[key].shape
    ]
    if odd:
        _remove(net, adapter)
        raise ConfigError(
            f"does not fit this model: {odd[0]}",
            where=str(file),
            hint="a user adapter only fits the family and size it was trained on",
        )
    adapter.fill(stored)
    freeze(adapter)
    return adapter


def read_about(path: Path) -> dict[str, str]:
    """Return what a user adapter's header says about it."""
    file = path / FILE if path.is_dir() else path
    with safe_open(file, framework="pt") as weights:
        return dict(weights.metadata() or {})


def remove_user_adapter(net: UserNet) -> None:
    """Take a network's user adapter out, if it has one, leaving the network as it was."""
    adapter = user_adapter_of(net)
    if adapter is not None:
        _remove(net, adapter)


def _remove(net: UserNet, adapter: UserAdapter) -> None:
    """Take an adapter out again, leaving the network as it was."""
    for site in sites(net):
        listening: Any = site.attention.get_processor()
        if isinstance(listening, UserAttention) and listening.adapter is adapter:
            site.attention.set_processor(listening.plain)
    delattr(net, NAME)
