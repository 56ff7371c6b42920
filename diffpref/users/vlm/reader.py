"""Reads hidden states of a transformers vision-language model from interleaved pairs.

Source: stage 1 of PPD, 2501.06655, whose code reads LLaVA-OneVision after a person's four pairs.
Departs from it: the question is our own, one layer is read instead of all, and nothing need be said
before the state is read.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from logging import getLogger
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from diffpref.data.pictures import shrunk
from diffpref.errors import ConfigError
from diffpref.users.vlm.reading import Choice, Reading, plain_words, question

WHERE = "users.vlm.folder"


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
            template_of(self.processor).apply_chat_template(
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


def template_of(processor: Any) -> Any:
    """Return whichever of the processor and its tokenizer has a chat template."""
    return processor if getattr(processor, "chat_template", None) else processor.tokenizer
