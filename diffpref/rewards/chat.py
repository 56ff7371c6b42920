"""A question about one picture as a chat model is asked it, tokenised around the prompt's place."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from diffpref.errors import DataError
from diffpref.rewards.instruction import PROMPT
from diffpref.rewards.state import read_config

_TEMPLATE = "chat_template.json"
"""Where a processor used to keep it, if the tokenizer's own files have none."""


@dataclass(frozen=True, kw_only=True)
class Chat:
    """A conversation that waits for its prompt; one token stands for the picture.

    What a prompt says is text: a special token written in it is spelt out, and cannot pass for a
    second picture or the end of the question.
    """

    tokenizer: Any
    before: tuple[int, ...]
    piece: str
    after: tuple[int, ...]

    @property
    def id(self) -> str:
        return f"{type(self.tokenizer).__name__}/{len(self.tokenizer)}"

    def ids(self, prompt: str, /) -> list[int]:
        """Return the whole conversation's tokens."""
        told = self.piece.replace(PROMPT, prompt)
        return [*self.before, *_words(self.tokenizer, told, plain=True), *self.after]


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Conversations of a batch, filled at the right; 1 in `mask` where there is a token."""

    ids: Int[Tensor, "n l"]
    mask: Int[Tensor, "n l"]

    @property
    def last(self) -> Int[Tensor, " n"]:
        """Return the place of each row's last token."""
        return self.mask.sum(dim=1) - 1


def tokenizer_of(folder: Path) -> Any:
    """Return the tokenizer that lies in a folder; no code of the folder is run.

    Raises:
        DataError: none, or damaged.
    """
    from transformers import AutoTokenizer

    try:
        found: Any = AutoTokenizer.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError, TypeError, KeyError, ImportError) as error:
        what = f"holds no usable tokenizer: {str(error).splitlines()[0]}"
        hint = "fetch tokenizer.json and tokenizer_config.json of the model again"
        raise DataError(what, where=str(folder), hint=hint) from error
    if found.chat_template is None and (folder / _TEMPLATE).is_file():
        found.chat_template = read_config(folder / _TEMPLATE).get("chat_template")
    return found


def chat_of(tokenizer: Any, message: str, *, image_id: int, where: str) -> Chat:
    """Return the tokenizer's own chat of one user turn: a picture, then a message.

    Args:
        tokenizer: with a chat template.
        message: holds `{text_prompt}` once.
        image_id: the token that stands for the picture.
        where: the tokenizer's folder, for messages.

    Raises:
        DataError: no chat template, or one that shows not exactly one picture and the message.
    """
    pieces = _pieces(tokenizer, _shown(tokenizer, message, where))
    slots = [number for number, piece in enumerate(pieces) if PROMPT in piece]
    before = [t for piece in pieces[: slots[0]] for t in _words(tokenizer, piece)] if slots else []
    after = [t for p in pieces[slots[0] + 1 :] for t in _words(tokenizer, p)] if slots else []
    pictures = [*before, *after].count(image_id)
    if len(slots) != 1 or pictures != 1:
        what = f"the chat template shows {pictures} pictures and the message {len(slots)} times"
        hint = "use the tokenizer and chat template of a Qwen-VL instruct model"
        raise DataError(what, where=where, hint=hint)
    return Chat(
        tokenizer=tokenizer, before=tuple(before), piece=pieces[slots[0]], after=tuple(after)
    )


def rows_of(chats: Sequence[list[int]], *, image_id: int, tokens: int) -> Rows:
    """Return rows in which each picture's token is repeated for what the picture becomes."""
    rows: list[Tensor] = []
    for ids in chats:
        place = ids.index(image_id)
        rows.append(torch.tensor([*ids[:place], *[image_id] * tokens, *ids[place + 1 :]]))
    mask = pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
    return Rows(ids=pad_sequence(rows, batch_first=True), mask=mask)


def spatial_positions(
    ids: Int[Tensor, "n l"], *, image_id: int, grid: tuple[int, int]
) -> Int[Tensor, "3 n l"]:
    """Return where each token is in time, height and width (M-RoPE, 2409.12191, section 2.1).

    Text counts on all three axes. A picture whose first token has position s lies at (s, s + y,
    s + x), and the text after it goes on at s plus its longer side, in tokens.
    """
    down, across = grid
    place = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
    start = (ids == image_id).int().argmax(dim=1, keepdim=True)
    inside = place - start
    picture = (inside >= 0) & (inside < down * across)
    text = place - (inside >= down * across) * (down * across - max(down, across))
    axes = (start.expand_as(ids), start + inside // across, start + inside % across)
    return torch.stack([torch.where(picture, axis, text) for axis in axes])


def _shown(tokenizer: Any, message: str, where: str) -> str:
    from jinja2 import TemplateError

    content = [{"type": "image"}, {"type": "text", "text": message}]
    turn = [{"role": "user", "content": content}]
    try:
        return str(tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True))
    except (ValueError, TypeError, TemplateError) as error:
        what = f"the chat template cannot be used: {str(error).splitlines()[0]}"
        hint = "fetch tokenizer_config.json (or chat_template.jinja) of the instruct model again"
        raise DataError(what, where=where, hint=hint) from error


def _pieces(tokenizer: Any, shown: str) -> list[str]:
    """Split at special tokens, keeping them; a tokenizer never merges across one."""
    special = [str(t) for t in tokenizer.added_tokens_decoder.values() if t.special]
    if not special:
        return [shown]
    longest_first = sorted(special, key=len, reverse=True)
    found = re.split("(" + "|".join(map(re.escape, longest_first)) + ")", shown)
    return [piece for piece in found if piece]


def _words(tokenizer: Any, text: str, *, plain: bool = False) -> list[int]:
    return tokenizer(text, add_special_tokens=False, split_special_tokens=plain)["input_ids"]
