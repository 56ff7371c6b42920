"""VQAScore's question put to a Qwen-VL model: the probability that its answer begins with Yes.

    s = sum over spellings w of P(w at the first generated token),
    w in {Yes, yes, YES} with and without a space before, as far as each is one token

asked, in the model's own chat: Does this figure show "prompt"? Please answer Yes or No.

Departs from the released code (linzhiqiu/t2v_metrics, Qwen2.5-VL), which counts the one spelling
Yes only: models differ in which one they prefer. Pictures are prepared as the folder's own image
processor does. Any folder of Qwen2-VL, Qwen2.5-VL or Qwen3-VL will do.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffpref.errors import DataError
from diffpref.rewards.cards import SCORERS
from diffpref.rewards.chat import Chat, chat_of, rows_of, spatial_positions, tokenizer_of
from diffpref.rewards.hollow import hollow, moved, pour
from diffpref.rewards.info import ScorerInfo, info_of
from diffpref.rewards.instruction import PROMPT
from diffpref.rewards.options import LoadOptions
from diffpref.rewards.qwen_keys import to_current
from diffpref.rewards.qwen_net import config_of, hidden, patching_of
from diffpref.rewards.qwen_sight import Patching, near_area
from diffpref.rewards.resolve import find
from diffpref.rewards.sight import CLIP_MEAN, CLIP_STD, Framed, Sight
from diffpref.rewards.state import Stored, read_config, read_state
from diffpref.types import PerRow

QUESTION = f'Does this figure show "{PROMPT}"? Please answer Yes or No.'
SPELLINGS = tuple(space + word for word in ("Yes", "yes", "YES") for space in ("", " "))
_AREA = (56 * 56, 28 * 28 * 1280)
_PROCESSORS = ("preprocessor_config.json", "processor_config.json")
_WORDS, _HEAD = "model.language_model.embed_tokens.weight", "lm_head.weight"


@dataclass(frozen=True, kw_only=True)
class YesModel:
    """A Qwen-VL model, read at the token it would answer first."""

    info: ScorerInfo
    sight: Sight
    chat: Chat
    patching: Patching
    net: Any
    yes: tuple[int, ...]

    def judge(self, seen: Tensor, prompts: tuple[str, ...], /) -> PerRow:
        device, image_id = self.net.lm_head.weight.device, self.net.config.image_token_id
        grid = self.patching.grid(*seen.shape[-2:])
        chats = [self.chat.ids(prompt) for prompt in prompts]
        rows = rows_of(chats, image_id=image_id, tokens=grid[0] * grid[1])
        rows = replace(rows, ids=rows.ids.to(device), mask=rows.mask.to(device))
        places = spatial_positions(rows.ids, image_id=image_id, grid=grid)
        states = hidden(self.net.model, seen.to(device), rows, places, self.patching)
        answer = states[torch.arange(len(prompts), device=device), rows.last]
        chances = self.net.lm_head(answer).float().softmax(dim=-1)
        return chances[:, list(self.yes)].sum(dim=1)

    def overlong(self, prompts: Sequence[str], /) -> list[bool]:
        return [False] * len(prompts)

    def to(self, device: torch.device | None, dtype: torch.dtype | None, /) -> "YesModel":
        return replace(self, net=moved(self.net, device, dtype))


def load_vlm(options: LoadOptions) -> YesModel:
    """Return VQAScore on a folder with a Qwen-VL model, its tokenizer and its image processor.

    Raises:
        DataError: another family, or something is missing, damaged or does not fit together.
    """
    card = SCORERS["vqascore"]
    (part,) = card.needed("vlm")
    folder = find(card, part, options)
    if not folder.is_dir():
        hint = "give the folder with config.json, tokenizer.json and preprocessor_config.json"
        raise DataError("is a file, not a model's folder", where=str(folder), hint=hint)
    config = config_of(read_config(folder / "config.json"), str(folder))
    tokenizer = tokenizer_of(folder)
    chat = chat_of(tokenizer, QUESTION, image_id=config.image_token_id, where=str(folder))
    patching = patching_of(config)
    sight = _sight(folder, patching)
    stored = read_state(folder)
    net, layout = _net(stored, config, options.dtype)
    return YesModel(
        info=info_of(
            card,
            variant="vlm",
            preprocess_id=sight.id,
            tokenizer_id=chat.id,
            weights=stored.refs(layout),
        ),
        sight=sight,
        chat=chat,
        patching=patching,
        net=net.to(device=options.device),
        yes=yes_tokens(tokenizer, str(folder)),
    )


def yes_tokens(tokenizer: Any, where: str) -> tuple[int, ...]:
    """Return the tokens that spell yes on their own.

    Raises:
        DataError: none does.
    """
    spelt = [tokenizer(word, add_special_tokens=False)["input_ids"] for word in SPELLINGS]
    single = sorted({ids[0] for ids in spelt if len(ids) == 1})
    if not single:
        hint = "use the tokenizer that belongs to the model"
        raise DataError("no token of this tokenizer spells yes", where=where, hint=hint)
    return tuple(single)


def _net(stored: Stored, config: Any, dtype: torch.dtype) -> tuple[Any, str]:
    from transformers import AutoModelForImageTextToText

    state, layout = to_current(stored.state, stored.where)
    if config.tie_word_embeddings or _HEAD not in state:
        state = {**state, _HEAD: state[_WORDS]}
    net = hollow(lambda: AutoModelForImageTextToText.from_config(config))
    return pour(net, state, dtype=dtype, where=stored.where, layout=layout), layout


def _sight(folder: Path, patching: Patching) -> Framed:
    told = _processor(folder)
    try:
        size = told.get("size") or {}
        least = told.get("min_pixels") or size.get("shortest_edge") or _AREA[0]
        most = told.get("max_pixels") or size.get("longest_edge") or _AREA[1]
        mean, std = told.get("image_mean", CLIP_MEAN), told.get("image_std", CLIP_STD)
        return Framed(
            id=f"pillow/area-{int(least)}-{int(most)}/{patching.factor}",
            framing=near_area(patching.factor, int(least), int(most)),
            mean=(float(mean[0]), float(mean[1]), float(mean[2])),
            std=(float(std[0]), float(std[1]), float(std[2])),
        )
    except (TypeError, ValueError, IndexError, KeyError, AttributeError) as error:
        what = f"the image processor's config cannot be used: {error}"
        hint = "fetch preprocessor_config.json of the model again"
        raise DataError(what, where=str(folder), hint=hint) from error


def _processor(folder: Path) -> Mapping[str, Any]:
    for name in _PROCESSORS:
        if (folder / name).is_file():
            told = read_config(folder / name)
            return told.get("image_processor", told)
    hint = f"fetch {_PROCESSORS[0]} of the model too: it says at what size pictures are read"
    raise DataError(f"holds no {' or '.join(_PROCESSORS)}", where=str(folder), hint=hint)
