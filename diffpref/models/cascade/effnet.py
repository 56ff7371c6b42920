"""Stage C's latents: EfficientNetV2-S features of a picture, projected and batch-normalised.

    x_0 = BatchNorm( Conv1x1( features(pixels) ) )

pixels are normalised as ImageNet's; there is no scale factor. 32 pixels make one latent: 768 give
24, from which stage B makes a picture of 1024. Weights in the published layout (backbone.*,
mapper.0.weight, mapper.1.*); the sizes are read off them.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from diffpref.errors import ConfigError
from diffpref.io import load_weights
from diffpref.types import Latents

FILE = "effnet_encoder.safetensors"
FACTOR = 32
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
EPS = 1e-3
"""Of the backbone's batch norms; the mapper's is torch's own."""

STRIDES, FUSED = (1, 2, 2, 2, 1, 2), 3
"""Of EfficientNetV2's six stages (2104.00298, table 4); the first three are fused."""

_MISSING = "model.vae"


class EffNetEncoder(nn.Module):
    """Pixels to stage C's latents; without weights it only says what is missing."""

    def __init__(self, backbone: nn.Module | None, mapper: nn.Module | None) -> None:
        super().__init__()
        self.backbone, self.mapper = backbone, mapper
        self.register_buffer("told", torch.zeros(()), persistent=False)

    def forward(self, pixels: Tensor) -> Latents:
        """Return the latents of images in [0, 1].

        Raises:
            ConfigError: there are no weights.
        """
        if self.backbone is None or self.mapper is None:
            hint = f"set model.vae to the {FILE} of stabilityai/stable-cascade"
            raise ConfigError("nothing reads pictures", where=_MISSING, hint=hint)
        mean, std = (pixels.new_tensor(each).view(1, 3, 1, 1) for each in (MEAN, STD))
        return self.mapper(self.backbone((pixels - mean) / std))


def load_effnet(path: Path | None, wide: torch.dtype) -> EffNetEncoder:
    """Load the encoder; None is an encoder that reads nothing.

    Raises:
        ConfigError: the weights are another network's.
        UnsafeFileError: pickled weights.
        DataError: damaged.
    """
    if path is None:
        return EffNetEncoder(None, None)
    state = load_weights(path)
    try:
        net = build_effnet(state)
    except (KeyError, IndexError, ValueError, RuntimeError) as error:
        what = f"is no encoder of Stable Cascade: {str(error).splitlines()[0][:200]}"
        hint = f"give the {FILE} of stabilityai/stable-cascade"
        raise ConfigError(what, where=f"{_MISSING}: {path.name}", hint=hint) from error
    return net.to(wide)


def build_effnet(state: Mapping[str, Tensor]) -> EffNetEncoder:
    """Return the encoder whose weights these are.

    Raises:
        KeyError: a weight is missing.
        RuntimeError: shapes or names differ from the published network's.
    """
    width = state["mapper.0.weight"].shape
    mapper = nn.Sequential(
        nn.Conv2d(width[1], width[0], kernel_size=1, bias=False),
        nn.BatchNorm2d(width[0], affine=False),
    )
    net = EffNetEncoder(backbone_of(state), mapper)
    net.load_state_dict(dict(state))
    return net.eval().requires_grad_(False)


def backbone_of(state: Mapping[str, Tensor], prefix: str = "backbone.") -> nn.Module:
    """Return torchvision's features of an EfficientNetV2 with the sizes of these weights."""
    from torchvision.models.efficientnet import (  # pyright: ignore[reportMissingTypeStubs]
        EfficientNet,
        FusedMBConvConfig,
        MBConvConfig,
    )

    stages: list[Any] = []
    before = state[f"{prefix}0.0.weight"].shape[0]
    for number, stride in enumerate(STRIDES, start=1):
        fused = number <= FUSED
        inner, after = _block(state, f"{prefix}{number}.0.block.", fused)
        layers = len({_layer(key, prefix, number) for key in state} - {None})
        kind = FusedMBConvConfig if fused else MBConvConfig
        stages.append(kind(inner / before, 3, stride, before, after, layers))
        before = after
    last = state[f"{prefix}{len(STRIDES) + 1}.0.weight"].shape[0]
    norm = partial(nn.BatchNorm2d, eps=EPS)
    whole: Any = EfficientNet(
        stages, dropout=0.0, last_channel=last, norm_layer=norm, num_classes=1
    )
    return whole.features


def _block(state: Mapping[str, Tensor], block: str, fused: bool) -> tuple[int, int]:
    """Return the inner and the outer width of a block."""
    if not fused:
        return state[f"{block}0.0.weight"].shape[0], state[f"{block}3.0.weight"].shape[0]
    first = state[f"{block}0.0.weight"].shape
    if f"{block}1.0.weight" not in state:  # without expansion there is one convolution
        return first[1], first[0]
    return first[0], state[f"{block}1.0.weight"].shape[0]


def _layer(key: str, prefix: str, stage: int) -> str | None:
    start = f"{prefix}{stage}."
    return key[len(start) :].partition(".")[0] if key.startswith(start) else None
