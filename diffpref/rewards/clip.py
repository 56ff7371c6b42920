"""Two-tower scorers hosted by open_clip: a folder with its config, weights and tokenizer."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import open_clip
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional
from transformers import CLIPTokenizer

from diffpref.assets import builtin, is_builtin
from diffpref.errors import DataError, UsageError
from diffpref.io import BadText, load_weights, read_json
from diffpref.rewards.info import ScorerInfo, WeightRef
from diffpref.rewards.model import Pixels
from diffpref.rewards.options import LoadOptions
from diffpref.types import PerRow

CONFIG = "open_clip_config.json"
WEIGHTS = "model.safetensors"
BUNDLED = "builtin:reward"


@dataclass(frozen=True, kw_only=True)
class ClipModel:
    """exp(logit_scale) times the cosine of image and prompt, as PickScore (2305.01569, eq. 1).

    `side` is the picture the tower sees, in pixels; `mean` and `std` are per channel.
    """

    info: ScorerInfo
    net: open_clip.CLIP
    tokenizer: CLIPTokenizer
    side: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def logit_scale(self) -> float:
        return float(self.net.logit_scale.detach().float().exp())

    def reward(self, pixels: Pixels, prompts: tuple[str, ...], /) -> PerRow:
        distinct = list(dict.fromkeys(prompts))
        index = torch.tensor([distinct.index(prompt) for prompt in prompts])
        text = self.embed_prompts(distinct)[index.to(self._device)]
        product = (self.embed_images(pixels) * text).sum(dim=1)
        return (self.logit_scale * product).to(pixels.device)

    def embed_images(self, pixels: Pixels, /) -> Float[Tensor, "n d"]:
        """Return unit embeddings in float32; differentiable in `pixels`."""
        seen = preprocess(pixels.to(self._device), self.side, self.mean, self.std)
        features = self.net.encode_image(seen.to(self.net.logit_scale.dtype))
        return functional.normalize(features.float(), dim=-1)

    def embed_prompts(self, prompts: Sequence[str], /) -> Float[Tensor, "m d"]:
        """Return unit embeddings in float32."""
        ids = tokens(self.tokenizer, prompts).to(self._device)
        return functional.normalize(self.net.encode_text(ids).float(), dim=-1)

    def overlong(self, prompts: Sequence[str], /) -> list[bool]:
        limit = int(self.tokenizer.model_max_length)
        return [len(self.tokenizer(text, verbose=False)["input_ids"]) > limit for text in prompts]

    def to(self, device: torch.device | None, dtype: torch.dtype | None, /) -> "ClipModel":
        return replace(self, net=deepcopy(self.net).to(device=device, dtype=dtype))

    @property
    def _device(self) -> torch.device:
        return self.net.logit_scale.device


def preprocess(
    pixels: Pixels, side: int, mean: Sequence[float], std: Sequence[float]
) -> Float[Tensor, "n 3 s s"]:
    """Resize the shorter side (antialiased bicubic, clamped), cut the centre square, normalise."""
    height, width = pixels.shape[-2:]
    image = pixels.float()
    if (height, width) != (side, side):
        scale = side / min(height, width)
        size = (max(side, round(height * scale)), max(side, round(width * scale)))
        image = functional.interpolate(image, size=size, mode="bicubic", antialias=True)
        top, left = (size[0] - side) // 2, (size[1] - side) // 2
        image = image[..., top : top + side, left : left + side].clamp(0, 1)
    centre = torch.tensor(mean, device=image.device)[:, None, None]
    spread = torch.tensor(std, device=image.device)[:, None, None]
    return (image - centre) / spread


def tokens(tokenizer: CLIPTokenizer, prompts: Sequence[str]) -> Int[Tensor, "m l"]:
    """Return token ids, padded and cut to the tokenizer's own length."""
    found = tokenizer(
        list(prompts),
        padding="max_length",
        max_length=int(tokenizer.model_max_length),
        truncation=True,
        return_tensors="pt",
    )
    return torch.as_tensor(found["input_ids"])


def build_net(config: dict[str, Any]) -> open_clip.CLIP:
    """Return the network a config's `model_cfg` describes, with random weights.

    Raises:
        DataError: a key is missing or unknown.
    """
    try:
        return open_clip.CLIP(**config["model_cfg"])
    except (KeyError, TypeError) as error:
        what, hint = f"is not an open_clip config: {error}", "fetch or build the scorer again"
        raise DataError(what, where=CONFIG, hint=hint) from error


def load_folder(folder: Path, info: ScorerInfo, options: LoadOptions) -> ClipModel:
    """Load a folder that holds open_clip_config.json, model.safetensors and a CLIP tokenizer.

    Raises:
        DataError: something is missing, damaged, or does not fit together.
    """
    config = _read_config(folder)
    net = build_net(config)
    weights = {name: value.float() for name, value in load_weights(folder / WEIGHTS).items()}
    try:
        net.load_state_dict(weights)
    except RuntimeError as error:
        what = str(error).splitlines()[1].strip()
        hint = f"{CONFIG} and {WEIGHTS} must belong together: fetch or build the scorer again"
        raise DataError(what, where=str(folder / WEIGHTS), hint=hint) from error
    told = config.get("preprocess_cfg", {})
    side = int(config["model_cfg"]["vision_cfg"]["image_size"])
    tokenizer = CLIPTokenizer.from_pretrained(str(folder), local_files_only=True)
    digest = sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    return ClipModel(
        info=replace(
            info,
            preprocess_id=f"bicubic-antialias/{side}/centre",
            tokenizer_id=f"hf-clip/{int(tokenizer.model_max_length)}",
            weights=(WeightRef(file=WEIGHTS, sha256=digest, layout="open_clip"),),
        ),
        net=net.eval().requires_grad_(False).to(device=options.device, dtype=options.dtype),
        tokenizer=tokenizer,
        side=side,
        mean=tuple(told.get("mean", open_clip.OPENAI_DATASET_MEAN)),
        std=tuple(told.get("std", open_clip.OPENAI_DATASET_STD)),
    )


def load_world_reward(options: LoadOptions) -> ClipModel:
    """Return the bundled reward: contrastive on the world, then tuned on its people's votes.

    Raises:
        UsageError: there is no such folder.
        DataError: the folder is damaged.
    """
    source = options.weights or BUNDLED
    folder = builtin(source) if is_builtin(source) else Path(source)
    if not folder.is_dir():
        hint = f"give a folder with {CONFIG}, {WEIGHTS} and a tokenizer"
        raise UsageError(f"there is no folder {source}", where="scorer world-reward", hint=hint)
    info = ScorerInfo(
        name="world-reward",
        kind="image-text",
        scale="cosine x exp(logit scale), as PickScore: a difference of scores is the log odds "
        "of being preferred",
        range_hint=(-10.0, 30.0),
        licence="Apache-2.0",
        differentiable=True,
        preprocess_id="",
    )
    return load_folder(folder, info, options)


def _read_config(folder: Path) -> dict[str, Any]:
    try:
        config = read_json(folder / CONFIG)
    except (OSError, BadText) as error:
        hint = "fetch or build the scorer again"
        what = f"cannot be read: {error}"
        raise DataError(what, where=str(folder / CONFIG), hint=hint) from error
    if not isinstance(config, dict):
        raise DataError("is not a JSON object", where=str(folder / CONFIG))
    return config
