"""Two-tower scorers hosted by open_clip: a folder with its config, weights and tokenizer."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import CLIPTokenizer

from diffpref.assets import builtin, is_builtin
from diffpref.errors import DataError, UsageError
from diffpref.io import load_weights
from diffpref.rewards.cards import SCORERS
from diffpref.rewards.clip import TwoTowerModel, times
from diffpref.rewards.frames import shortest
from diffpref.rewards.info import WeightRef, info_of
from diffpref.rewards.options import LoadOptions
from diffpref.rewards.sight import Framed, Pixels
from diffpref.rewards.state import Stored, read_config

CONFIG = "open_clip_config.json"
WEIGHTS = "model.safetensors"
BUNDLED = "builtin:reward"


@dataclass(frozen=True)
class FolderTokenizer:
    """The tokenizer that lies beside the weights."""

    stock: CLIPTokenizer

    @property
    def id(self) -> str:
        return f"hf-clip/{self._context}"

    def ids(self, prompts: Sequence[str], /) -> Int[Tensor, "m l"]:
        return tokens(self.stock, prompts)

    def overlong(self, prompts: Sequence[str], /) -> list[bool]:
        lengths = [len(self.stock(text, verbose=False)["input_ids"]) for text in prompts]
        return [length > self._context for length in lengths]

    @property
    def _context(self) -> int:
        return int(self.stock.model_max_length)


def sight_of(side: int, mean: Sequence[float], std: Sequence[float]) -> Framed:
    """Return the bundled reward's preparation: on floats, as it was trained."""
    return Framed(
        id=f"bicubic-antialias/{side}/centre",
        framing=shortest(side),
        mean=(mean[0], mean[1], mean[2]),
        std=(std[0], std[1], std[2]),
        resample="antialias",
    )


def preprocess(
    pixels: Pixels, side: int, mean: Sequence[float], std: Sequence[float]
) -> Float[Tensor, "n 3 s s"]:
    """Resize the shorter side (antialiased bicubic), cut the centre square, normalise."""
    return sight_of(side, mean, std).smooth(pixels)


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


def build_net(config: Any) -> open_clip.CLIP:
    """Return the network a config's `model_cfg` describes, with random weights.

    Raises:
        DataError: a key is missing or unknown.
    """
    try:
        return open_clip.CLIP(**config["model_cfg"])
    except (KeyError, TypeError) as error:
        what, hint = f"is not an open_clip config: {error}", "fetch or build the scorer again"
        raise DataError(what, where=CONFIG, hint=hint) from error


def load_world_reward(options: LoadOptions) -> TwoTowerModel:
    """Return the bundled reward: contrastive on the world, then tuned on its people's votes.

    Raises:
        UsageError: there is no such folder.
        DataError: the folder is damaged.
    """
    source = options.weights if isinstance(options.weights, str) else BUNDLED
    folder = builtin(source) if is_builtin(source) else Path(source)
    if not folder.is_dir():
        hint = f"give a folder with {CONFIG}, {WEIGHTS} and a tokenizer"
        raise UsageError(f"there is no folder {source}", where="scorer world-reward", hint=hint)
    return load_folder(folder, "world-reward", options)


def load_folder(folder: Path, name: str, options: LoadOptions) -> TwoTowerModel:
    """Load a folder that holds open_clip_config.json, model.safetensors and a CLIP tokenizer.

    Raises:
        DataError: something is missing, damaged, or does not fit together.
    """
    config = read_config(folder / CONFIG)
    net = build_net(config)
    stored = Stored(
        state=load_weights(folder / WEIGHTS),
        files=(folder / WEIGHTS,),
        config=config,
        where=str(folder / WEIGHTS),
    )
    try:
        net.load_state_dict({name: value.float() for name, value in stored.state.items()})
    except RuntimeError as error:
        what = str(error).splitlines()[1].strip()
        hint = f"{CONFIG} and {WEIGHTS} must belong together: fetch or build the scorer again"
        raise DataError(what, where=stored.where, hint=hint) from error
    told = config.get("preprocess_cfg", {})
    tokenizer = FolderTokenizer(CLIPTokenizer.from_pretrained(str(folder), local_files_only=True))
    sight = sight_of(
        int(config["model_cfg"]["vision_cfg"]["image_size"]),
        told.get("mean", open_clip.OPENAI_DATASET_MEAN),
        told.get("std", open_clip.OPENAI_DATASET_STD),
    )
    weights: tuple[WeightRef, ...] = stored.refs("open_clip")
    scale = float(net.logit_scale.detach().exp())
    net = net.eval().requires_grad_(False).to(device=options.device, dtype=options.dtype)
    return TwoTowerModel(
        info=info_of(
            SCORERS[name], preprocess_id=sight.id, tokenizer_id=tokenizer.id, weights=weights
        ),
        net=net,
        tokenizer=tokenizer,
        sight=sight,
        finish=times(scale),
    )
