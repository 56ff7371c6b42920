"""A text scorer as a member of an ensemble: it reads each picture's prompt or caption."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from diffpref.errors import DataError
from diffpref.io import BadImage, BadLine, BadPath, open_image, read_jsonl, safe_path
from diffpref.rewards.info import ScorerInfo
from diffpref.rewards.inputs import one_picture
from diffpref.rewards.pictures import AS_IT_IS, picture_key
from diffpref.rewards.sight import Pixels, Seen
from diffpref.rewards.text import TextModel
from diffpref.types import PerRow

PLACEHOLDER = "{prompt}"


def _nothing(pixels: Pixels) -> Tensor:
    return pixels.new_zeros(len(pixels), 0)


BLIND = Seen(id="none", look=_nothing)


@dataclass(frozen=True, kw_only=True)
class TextOfPicture:
    """Scores the response that belongs to a picture: its caption, or its prompt.

    Attributes:
        text: who scores.
        ask: what the response answers, with {prompt} where the picture's prompt goes.
        captions: captions by `picture_key`; None scores the prompt itself.
    """

    text: TextModel
    ask: str
    captions: Mapping[str, str] | None

    @property
    def info(self) -> ScorerInfo:
        return self.text.info

    @property
    def sight(self) -> Seen:
        return BLIND if self.captions is None else AS_IT_IS

    def judge(self, seen: Tensor, prompts: tuple[str, ...], /) -> PerRow:
        """Return the scores of the pictures' texts.

        Raises:
            DataError: a picture has no caption.
        """
        responses = list(prompts) if self.captions is None else [self._caption(s) for s in seen]
        return self.text.judge(self._asked(prompts), responses)

    def overlong(self, prompts: Sequence[str], /) -> list[bool]:
        """Return which prompts are cut; captions are known only with their picture."""
        responses = prompts if self.captions is None else [""] * len(prompts)
        return self.text.overlong(self._asked(prompts), responses)

    def to(self, device: torch.device | None, dtype: torch.dtype | None, /) -> "TextOfPicture":
        return replace(self, text=self.text.to(device, dtype))

    def _asked(self, prompts: Sequence[str]) -> list[str]:
        return [self.ask.replace(PLACEHOLDER, prompt) for prompt in prompts]

    def _caption(self, picture: Tensor) -> str:
        captions = self.captions or {}
        key = picture_key(picture)
        if key not in captions:
            size = f"{picture.shape[2]} x {picture.shape[1]}"
            what = f"a picture of {size} pixels has no caption (its key is {key[:16]}...)"
            hint = 'add a line {"image": PATH, "caption": TEXT} to the file of captions'
            raise DataError(what, where=f"scorer {self.info.id}", hint=hint)
        return captions[key]


def read_captions(path: Path) -> dict[str, str]:
    """Return captions by picture of a jsonl file of {"image": path, "caption": text}.

    Paths are relative to the file. A picture is known by its pixels, wherever it is shown later.

    Raises:
        DataError: names the line.
    """
    if not path.is_file():
        hint = 'write a jsonl file of {"image": PATH, "caption": TEXT}'
        raise DataError("there is no file of captions", where=str(path), hint=hint)
    found: dict[str, str] = {}
    for number, row in read_jsonl(path):
        where = f"{path.name}:{number}"
        image = None if isinstance(row, BadLine) else row.get("image")
        caption = None if isinstance(row, BadLine) else row.get("caption")
        if not (isinstance(image, str) and isinstance(caption, str)):
            hint = 'every line is {"image": PATH, "caption": TEXT}'
            raise DataError("is no caption of an image", where=where, hint=hint)
        try:
            opened = open_image(safe_path(path.parent, image), where=where)
        except (BadPath, BadImage) as error:
            hint = "paths are relative to the file of captions"
            raise DataError(error.reason, where=where, hint=hint) from error
        found[picture_key(one_picture(opened, number))] = caption
    return found
