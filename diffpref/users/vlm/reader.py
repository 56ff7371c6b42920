"""Reads hidden states of a transformers vision-language model from interleaved pairs.

Source: stage 1 of PPD, 2501.06655, whose code reads LLaVA-OneVision after a person's four pairs.
Departs from it: the question is our own, one layer is read instead of all, and nothing need be said
before the state is read.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import file_digest
from logging import getLogger
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from diffpref.data.pictures import shrunk
from diffpref.errors import ConfigError
from diffpref.models.load import DTYPES
from diffpref.models.parts import load_net
from diffpref.rewards.state import weight_files
from diffpref.users.vlm.reading import Choice, Reading, plain_words, question

WHERE = "users.vlm.folder"

PICTURE: Mapping[str, str] = MappingProxyType(
    {
        "llava_onevision": "<image>",
        **dict.fromkeys(
            ("qwen2_vl", "qwen2_5_vl", "qwen3_vl"), "<|vision_start|><|image_pad|><|vision_end|>"
        ),
    }
)
"""How a layout writes a picture inside a sentence; others say the token through their processor."""

Inputs = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class VlmReader:
    """A frozen vision-language model, its processor, and what is read of it.

    layout: its model_type. weights: SHA-256 of its files, one after the other. picture: what
    stands for a picture in the text. limit: tokens of a conversation. device: where it reads; in
    between it waits in main memory.
    """

    net: Any = field(repr=False)
    processor: Any = field(repr=False)
    reading: Reading
    layout: str
    weights: str
    picture: str
    limit: int
    device: str = "cpu"

    @torch.no_grad()
    def read(self, people: Sequence[Sequence[Choice]], *, batch: int = 1) -> Float[Tensor, "n d"]:
        """Return one state per person, float32 on the CPU.

        Args:
            people: the choices of each; those at the end that exceed the model's tokens are left
                out, which is logged.
            batch: people read at once; changes nothing but rounding.

        Raises:
            ConfigError: one pair is too long, or the states are not finite.
        """
        found: list[Tensor] = []
        size = 1 if self.reading.words else batch
        for start in range(0, len(people), size):
            part = [self._fitting(list(each)) for each in people[start : start + size]]
            found.append(self._states(part))
        return torch.cat(found)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Keep the model on its device inside, and in main memory afterwards."""
        self.net.to(self.device)
        try:
            yield
        finally:
            self.net.to("cpu")

    def _states(self, people: Sequence[Sequence[Choice]]) -> Float[Tensor, "n d"]:
        inputs = self._inputs(people)
        asked = inputs["input_ids"].shape[1]
        if self.reading.words:
            inputs = self._said(inputs)
        output = self.net(**inputs, output_hidden_states=True, use_cache=False, return_dict=True)
        layer = output.hidden_states[self.reading.layer].float()
        mask = inputs["attention_mask"].to(layer.device)
        if self.reading.pooling == "last":
            state = layer[torch.arange(len(layer), device=layer.device), mask.sum(dim=1) - 1]
        else:
            mask = mask.clone()
            mask[:, : asked if inputs["input_ids"].shape[1] > asked else 0] = 0
            state = (layer * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)
        if not bool(torch.isfinite(state).all()):
            what, hint = "its hidden states are not finite", "set users.vlm.dtype: bf16 or fp32"
            raise ConfigError(what, where=WHERE, hint=hint)
        return state.cpu()

    def _inputs(self, people: Sequence[Sequence[Choice]]) -> Inputs:
        """Return what the network takes; rows are filled at the right."""
        texts = [self._text(choices) for choices in people]
        shown = [[p for each in choices for p in self._pictures(each)] for choices in people]
        made = self.processor(text=texts, images=shown, padding=True, return_tensors="pt")
        return {
            name: value.to(self.net.device, self.net.dtype if value.is_floating_point() else None)
            for name, value in made.items()
        }

    def _pictures(self, choice: Choice) -> Iterator[Any]:
        for picture in (choice.chosen, choice.rejected):
            yield shrunk(picture, self.reading.side)

    def _text(self, choices: Sequence[Choice]) -> str:
        tokenizer = self.processor.tokenizer
        special = {str(each) for each in tokenizer.added_tokens_decoder.values()}
        special |= {*tokenizer.all_special_tokens, self.processor.image_token}
        prompts = [plain_words(each.prompt, sorted(special)) for each in choices]
        # the parts of a turn would be shown pictures first by LLaVA-OneVision's own template
        turn = [{"type": "text", "text": question(prompts, self.picture)}]
        said = [{"role": "user", "content": turn}]
        return str(
            _template(self.processor).apply_chat_template(
                said, tokenize=False, add_generation_prompt=True
            )
        )

    def _said(self, inputs: Inputs) -> Inputs:
        """Return the inputs of one person with the words the model says about them."""
        asked = inputs["input_ids"].shape[1]
        whole = self.net.generate(
            **inputs,
            max_new_tokens=self.reading.words,
            do_sample=False,
            pad_token_id=self.processor.tokenizer.pad_token_id,
        )
        new = whole[:, asked:]
        if not new.shape[1]:
            return inputs
        ones = {"input_ids": new, "attention_mask": torch.ones_like(new)}
        return {
            name: torch.cat([value, ones.get(name, torch.zeros_like(new))], dim=1)
            if value.shape == inputs["input_ids"].shape
            else value
            for name, value in inputs.items()
        }

    def _fitting(self, choices: list[Choice]) -> list[Choice]:
        """Return as many of the first choices as the model's tokens hold."""
        kept = choices
        while (tokens := self._tokens(kept)) > self.limit:
            if len(kept) == 1:
                what = f"one pair takes {tokens} tokens of the {self.limit} the model reads"
                hint = "set a smaller users.vlm.side or users.vlm.words"
                raise ConfigError(what, where=WHERE, hint=hint)
            kept = kept[:-1]
        if len(kept) < len(choices):
            told = "the model reads %d tokens: %d of %d pairs of a person are left out"
            getLogger(__name__).warning(told, self.limit, len(choices) - len(kept), len(choices))
        return kept

    def _tokens(self, choices: Sequence[Choice]) -> int:
        return int(self._inputs([choices])["input_ids"].shape[1]) + self.reading.words


def load_reader(folder: Path, reading: Reading, *, device: str = "cpu") -> VlmReader:
    """Load a vision-language model from a folder; no code of the folder is run.

    Args:
        folder: with config.json, safetensors weights, tokenizer, chat template and processor.
        reading: what is read of it.
        device: where it runs.

    Raises:
        ConfigError: something is missing, damaged, no vision-language model, or has no such layer.
        UnsafeFileError: pickled weights.
    """
    from transformers import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING as KINDS
    from transformers import AutoConfig

    if not folder.is_dir():
        hint = "give the folder with config.json, model.safetensors and preprocessor_config.json"
        raise ConfigError("there is no such folder", where=f"{WHERE}: {folder}", hint=hint)
    stock: Any = AutoConfig
    config: Any = _opened(stock, folder, "config")
    if type(config) not in KINDS:
        hint = "give a folder of a vision-language model such as LLaVA-OneVision or Qwen2.5-VL"
        raise ConfigError(
            f"a {config.model_type} answers no pictures", where=_at(folder), hint=hint
        )
    text = config.get_text_config()
    _check_layer(reading, int(text.num_hidden_layers))
    kind: Any = KINDS[type(config)]
    net: Any = load_net(kind, folder, DTYPES[reading.dtype], WHERE)
    processor = _processor(folder)
    return VlmReader(
        net=net.eval().requires_grad_(False),
        processor=processor,
        reading=reading,
        layout=str(config.model_type),
        weights=weights_digest(folder),
        picture=PICTURE.get(config.model_type, processor.image_token),
        limit=int(getattr(text, "max_position_embeddings", None) or 2**31),
        device=device,
    )


def weights_digest(folder: Path) -> str:
    """Return the SHA-256 of a folder's weights, its files' own joined."""
    parts: list[str] = []
    for path in weight_files(folder):
        with path.open("rb") as stream:
            parts.append(file_digest(stream, "sha256").hexdigest())
    return "+".join(parts)


def _check_layer(reading: Reading, layers: int) -> None:
    if not -layers - 1 <= reading.layer <= layers:
        what = f"there is no layer {reading.layer}"
        hint = f"choose 0 (embeddings) to {layers}, or -1 (the last) to {-layers - 1}"
        raise ConfigError(what, where="users.vlm.layer", hint=hint)


def _processor(folder: Path) -> Any:
    from transformers import AutoProcessor

    stock: Any = AutoProcessor
    found = _opened(stock, folder, "processor")
    tokenizer = getattr(found, "tokenizer", None)
    if tokenizer is None or getattr(found, "image_token", None) is None:
        hint = "give a folder of a vision-language model such as LLaVA-OneVision or Qwen2.5-VL"
        raise ConfigError("its processor reads no pictures", where=_at(folder), hint=hint)
    tokenizer.padding_side = "right"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if _template(found).chat_template is None:
        hint = "fetch chat_template.jinja (or chat_template.json) of the chat variant too"
        raise ConfigError("holds no chat template", where=_at(folder), hint=hint)
    return found


def _template(processor: Any) -> Any:
    """Return whichever of the processor and its tokenizer has a chat template."""
    return processor if getattr(processor, "chat_template", None) else processor.tokenizer


def _opened(stock: Any, folder: Path, what: str) -> Any:
    try:
        return stock.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, TypeError, KeyError, ImportError, AttributeError) as error:
        said = str(error).strip().partition("\n")[0]
        hint = "fetch the model's folder again; models that bring their own code are not run"
        raise ConfigError(
            f"holds no usable {what}: {said}", where=_at(folder), hint=hint
        ) from error


def _at(folder: Path) -> str:
    return f"{WHERE}: {folder}"
