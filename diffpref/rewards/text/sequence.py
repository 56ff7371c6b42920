"""Bradley-Terry reward models: any sequence classifier of transformers with one output.

    P(a preferred to b | prompt) = sigmoid(s(prompt, a) - s(prompt, b))

Decoders (Llama, Gemma, Qwen ...) read the conversation by their own chat template and s is the
head's value at its last token, in float32. transformers reads the rightmost token that is not the
filler. Both are one unless a conversation ends with the filler token (pad == eos): then the variant
of `bradley-terry` decides, `strict` refuses, `last` reads the end token, `stock` the one before.
Encoders (DeBERTa ...) read prompt and response as a pair and keep transformers' own head.

In half precision a score moves by some hundredths with the batch (reward-bench issue 137); in
float32 it does not.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from diffpref.errors import DataError
from diffpref.rewards.cards import Card
from diffpref.rewards.info import ScorerInfo, info_of
from diffpref.rewards.options import LoadOptions
from diffpref.rewards.text.cards import TEXT_SCORERS
from diffpref.rewards.text.chat import Chat, chat_of, read_tokenizer
from diffpref.rewards.text.decoder import Decoder, at, ends
from diffpref.rewards.text.encoder import EncoderReward
from diffpref.rewards.text.weights import check_count, find_folder, host, refs_of
from diffpref.types import PerRow

Ending = Literal["strict", "last", "stock"]


@dataclass(frozen=True, kw_only=True)
class SequenceReward:
    """A decoder with a linear head at the conversation's last token.

    `filler` is the config's pad token if it is to be passed over at the end, else None.
    """

    info: ScorerInfo
    chat: Chat
    decoder: Decoder
    head: Tensor
    filler: int | None = None

    def judge(self, prompts: Sequence[str], responses: Sequence[str], /) -> PerRow:
        """Return the scores, on the CPU."""
        rows = self.chat.rows(prompts, responses)
        places = ends(rows) if self.filler is None else [_before(r, self.filler) for r in rows]
        return (at(self.decoder.states(rows), places) @ self.head).cpu()

    def overlong(self, prompts: Sequence[str], responses: Sequence[str], /) -> list[bool]:
        return self.chat.overlong(prompts, responses)

    def to(self, device: torch.device | None, dtype: torch.dtype | None, /) -> "SequenceReward":
        net = deepcopy(self.decoder.net).to(device=device, dtype=dtype)
        return replace(self, decoder=Decoder(net=net), head=self.head.to(device=device))


def load_sequence(options: LoadOptions) -> SequenceReward | EncoderReward:
    """Return the user's own reward model."""
    return _load(TEXT_SCORERS["bradley-terry"], options, _ending(options.variant))


def load_skywork(options: LoadOptions) -> SequenceReward | EncoderReward:
    """Return a Skywork-Reward model (2410.18451, V2: 2507.01352)."""
    return _load(TEXT_SCORERS["skywork-reward"], options, "strict")


def load_fsfairx(options: LoadOptions) -> SequenceReward | EncoderReward:
    """Return FsfairX-LLaMA3-RM-v0.1 (2405.07863)."""
    return _load(TEXT_SCORERS["fsfairx"], options, "strict")


def _load(card: Card, options: LoadOptions, ending: Ending) -> SequenceReward | EncoderReward:
    from transformers import AutoModelForSequenceClassification

    folder = find_folder(card, options)
    net = host(AutoModelForSequenceClassification, folder, options)
    check_count(net, 0, card, options, str(folder))
    info = info_of(
        card,
        variant=options.variant,
        preprocess_id="text",
        tokenizer_id="chat-template",
        weights=refs_of(folder, "sequence-classification"),
    )
    head = dict(net.named_children()).get("score")
    if not isinstance(head, nn.Linear):
        tokenizer = read_tokenizer(folder)
        return EncoderReward.of(replace(info, tokenizer_id="pair"), net, tokenizer)
    chat = chat_of(folder, net.config.get_text_config().max_position_embeddings)
    return SequenceReward(
        info=info,
        chat=chat,
        decoder=Decoder(net=net.base_model),
        head=head.weight[0].float(),
        filler=_filler(chat, net.config, ending, folder),
    )


def _ending(variant: str) -> Ending:
    return "last" if variant == "last" else "stock" if variant == "stock" else "strict"


def _filler(chat: Chat, config: Any, ending: Ending, folder: Path) -> int | None:
    """Return the token passed over at the end, refusing where it is not clear whether it should."""
    pad = config.get_text_config().pad_token_id
    if pad is None or ending == "last":
        return None
    if ending == "strict" and chat.whole("a", "b")[-1] == pad:
        raise DataError(
            f"its filler (pad_token_id {pad}) is also the token that ends a conversation",
            where=f"{folder}: config.json",
            hint="say where it was trained to be read: bradley-terry:last (the end token) or "
            "bradley-terry:stock (the token before, as transformers does)",
        )
    return pad if ending == "stock" else None


def _before(row: Sequence[int], filler: int) -> int:
    """Return the place of the rightmost token that is not the filler, 0 if all are."""
    return max((place for place, token in enumerate(row) if token != filler), default=0)
