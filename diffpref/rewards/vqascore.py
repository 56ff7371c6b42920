r"""VQAScore: Lin et al., 2404.01291; linzhiqiu/t2v_metrics. How sure a model is of a picture.

    s = exp( 1/2 [ log P(Yes) + log P(</s> | Yes) ] ),   read off CLIP-FlanT5 asked
        Does this figure show "prompt"? Please answer yes or no.

The encoder reads the chat's text before the picture, the picture, the text after it; each text
ends with its own </s>. The picture is what CLIP ViT-L/14-336 says of its 576 patches before its
last layer, without the class token, through two linear layers with a GELU between. The variant
`vlm` asks a Qwen-VL model instead (`vqascore_vlm`).

Departs from the released code: float32 by default (released: bfloat16); the fast tokenizer; the
literal `<image>` in a prompt is text. Use fp32 or bf16: T5 overflows in fp16. Not compared with
the released code on its weights.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from diffpref.rewards.cards import SCORERS
from diffpref.rewards.chat import tokenizer_of
from diffpref.rewards.clip_t5 import ClipT5, host
from diffpref.rewards.frames import square_canvas
from diffpref.rewards.hollow import moved
from diffpref.rewards.info import ScorerInfo, info_of
from diffpref.rewards.instruction import PROMPT
from diffpref.rewards.model import ScoringModel
from diffpref.rewards.options import LoadOptions
from diffpref.rewards.resolve import find
from diffpref.rewards.sight import CLIP_MEAN, Framed, Sight
from diffpref.rewards.state import read_state
from diffpref.types import PerRow

BEFORE = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives "
    "helpful, detailed, and polite answers to the user's questions. USER: "
)
AFTER = f'\nDoes this figure show "{PROMPT}"? Please answer yes or no. ASSISTANT: '
ANSWER = "Yes"
CONTEXT = 2048
"""Tokens the encoder reads, the picture counted as one; what lies beyond is cut."""


@dataclass(frozen=True, kw_only=True)
class VqaModel:
    """CLIP-FlanT5, asked one question per row."""

    info: ScorerInfo
    sight: Sight
    net: ClipT5
    tokenizer: Any

    def judge(self, seen: Tensor, prompts: tuple[str, ...], /) -> PerRow:
        return self.judge_looked(self.look(seen), prompts)

    def look(self, seen: Tensor, /) -> Float[Tensor, "n p d"]:
        weight = self.net.t5.shared.weight
        return self.net.see(seen.to(device=weight.device, dtype=weight.dtype))

    def judge_looked(self, looked: Float[Tensor, "n p d"], prompts: tuple[str, ...], /) -> PerRow:
        """Return the geometric mean of the probabilities of the answer's tokens."""
        device = looked.device
        after = [torch.tensor(self._after(prompt)) for prompt in prompts]
        mask = pad_sequence([torch.ones_like(ids) for ids in after], batch_first=True)
        before = torch.tensor([self._ids(BEFORE)]).expand(len(prompts), -1)
        told = [before, pad_sequence(after, batch_first=True)]
        ahead, behind = (self.net.t5.shared(ids.to(device)) for ids in told)
        rows = torch.cat([ahead, looked, behind], dim=1)
        whole = torch.ones(rows.shape[:2], dtype=torch.long, device=rows.device)
        whole[:, rows.shape[1] - mask.shape[1] :] = mask.to(rows.device)
        return self._sure(rows, whole)

    def _sure(self, rows: Float[Tensor, "n l d"], mask: Tensor) -> PerRow:
        answer = torch.tensor([self._ids(ANSWER)] * len(rows), device=rows.device)
        found = self.net.t5(inputs_embeds=rows, attention_mask=mask, labels=answer)
        chances = found.logits.float().log_softmax(dim=-1)
        return chances.gather(2, answer[..., None])[..., 0].mean(dim=1).exp()

    def _after(self, prompt: str) -> list[int]:
        left = CONTEXT - 1 - len(self._ids(BEFORE))
        return self._ids(AFTER.replace(PROMPT, prompt))[:left]

    def _ids(self, text: str) -> list[int]:
        return self.tokenizer(text, verbose=False)["input_ids"]

    def overlong(self, prompts: Sequence[str], /) -> list[bool]:
        left = CONTEXT - 1 - len(self._ids(BEFORE))
        return [len(self._ids(AFTER.replace(PROMPT, prompt))) > left for prompt in prompts]

    def to(self, device: torch.device | None, dtype: torch.dtype | None, /) -> "VqaModel":
        return replace(self, net=moved(self.net, device, dtype))


def load_vqascore(options: LoadOptions) -> ScoringModel:
    """Return VQAScore on the model of the variant: xxl, xl, or a Qwen-VL folder of your own.

    Raises:
        DataError: a part is missing, damaged, or does not fit the others.
    """
    if options.variant == "vlm":
        from diffpref.rewards.vqascore_vlm import load_vlm

        return load_vlm(options)
    card = SCORERS["vqascore"]
    part, vision, words = card.needed(options.variant)
    path = find(card, part, options)
    tokenizer = tokenizer_of(find(card, words, options))
    net, used = host(
        read_state(path),
        lambda: read_state(find(card, vision, options)),
        words=len(tokenizer),
        dtype=options.dtype,
    )
    fill = tuple(int(255 * mean) / 255 for mean in CLIP_MEAN)
    sight = Framed(
        id=f"pillow/{net.side}/square-mean-colour",
        framing=square_canvas(net.side),
        fill=(fill[0], fill[1], fill[2]),
    )
    return VqaModel(
        info=info_of(
            card,
            variant=options.variant,
            preprocess_id=sight.id,
            tokenizer_id=f"{type(tokenizer).__name__}/{len(tokenizer)}",
            weights=used,
        ),
        sight=sight,
        net=net.to(device=options.device),
        tokenizer=tokenizer,
    )
