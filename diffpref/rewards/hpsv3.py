r"""HPSv3: Ma et al., 2508.03789; MizzenAI/HPSv3. Qwen2-VL 7B given a rubric and a reward token.

    s = mu,   (mu, sigma) = W_5 relu(W_3 relu(W_0 h + b_0) + b_3) + b_5

with h the last hidden state at `<|Reward|>`, in float32. Facts of the released code kept here:
`<|Reward|>` is added to Qwen2-VL's tokenizer; one user turn in its chat template; pictures near
200 704 pixels; positions count 0 .. L-1 on all three axes of the rotary embedding (its forward
passes embeddings, so no picture is seen as a grid); rotary frequencies are rounded to bfloat16,
because it casts the whole model, buffers too. The rubric is read beside the weights and checked
by its hash.

Departs from the released code: float32 networks by default (released: bfloat16, whose vision
tower also rounds rotary angles); with gradient pictures are resized bicubically, as without
(released: bilinearly); special tokens written in a prompt are text. Not compared with the
released code on its weights.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from diffpref.errors import DataError
from diffpref.rewards.cards import SCORERS
from diffpref.rewards.cards.vlm import HPSV3_INSTRUCTION, HPSV3_ORIGIN
from diffpref.rewards.chat import Chat, chat_of, rows_of, tokenizer_of
from diffpref.rewards.hf_clip import check_size
from diffpref.rewards.hollow import hollow, moved, pour
from diffpref.rewards.info import ScorerInfo, info_of
from diffpref.rewards.instruction import read_instruction
from diffpref.rewards.options import LoadOptions
from diffpref.rewards.qwen_keys import to_current
from diffpref.rewards.qwen_net import config_of, hidden, patching_of
from diffpref.rewards.qwen_sight import Patching, near_area
from diffpref.rewards.resolve import find
from diffpref.rewards.sight import Framed, Sight
from diffpref.rewards.state import State, Stored, mismatch, read_config, read_state, under
from diffpref.types import PerRow

REWARD = "<|Reward|>"
AREA = 256 * 28 * 28
_LAYERS = (0, 3, 5)
_HINT = "give HPSv3.safetensors itself"


@dataclass(frozen=True, kw_only=True)
class HpsV3Model:
    """A Qwen2-VL trunk read at the reward token by a small head in float32."""

    info: ScorerInfo
    sight: Sight
    chat: Chat
    patching: Patching
    trunk: Any
    head: nn.Sequential
    reward_id: int

    def judge(self, seen: Tensor, prompts: tuple[str, ...], /) -> PerRow:
        return self.outputs(seen, prompts)[:, 0]

    def outputs(self, seen: Tensor, prompts: tuple[str, ...], /) -> Tensor:
        """Return (mu, sigma) of each row as the head gives them."""
        device, image_id = next(self.head.parameters()).device, self.trunk.config.image_token_id
        down, across = self.patching.grid(*seen.shape[-2:])
        chats = [self.chat.ids(prompt) for prompt in prompts]
        rows = rows_of(chats, image_id=image_id, tokens=down * across)
        rows = replace(rows, ids=rows.ids.to(device), mask=rows.mask.to(device))
        places = torch.arange(rows.ids.shape[1], device=device).expand(3, *rows.ids.shape)
        states = hidden(self.trunk, seen.to(device), rows, places, self.patching)
        at = (rows.ids == self.reward_id).int().argmax(dim=1)
        return self.head(states[torch.arange(len(at), device=device), at].float())

    def overlong(self, prompts: Sequence[str], /) -> list[bool]:
        return [False] * len(prompts)

    def to(self, device: torch.device | None, dtype: torch.dtype | None, /) -> "HpsV3Model":
        head = deepcopy(self.head).to(device=device)
        return replace(self, trunk=moved(self.trunk, device, dtype), head=head)


def load_hpsv3(options: LoadOptions) -> HpsV3Model:
    """Return HPSv3 from its weights, Qwen2-VL's config and tokenizer, and its instruction.

    Raises:
        DataError: a part is missing, damaged or another one; nothing large is read before the
            small parts are checked.
    """
    card = SCORERS["hpsv3"]
    path = find(card, card.part("instruction"), options)
    published = HPSV3_INSTRUCTION if options.published else None
    message = read_instruction(path, published=published, origin=HPSV3_ORIGIN)
    base = find(card, card.part("base"), options)
    config = config_of(read_config(base / "config.json"), str(base), families=("qwen2_vl",))
    chat, reward_id = _asked(message, config.image_token_id, str(path), tokenizer_of(base))
    patching = patching_of(config)
    framing = near_area(patching.factor, AREA, AREA)
    sight = Framed(id=f"pillow/area-{AREA}/{patching.factor}", framing=framing)
    stored = read_state(find(card, card.part("model"), options))
    expect = card.part("model").parameters if options.published else None
    trunk, head, layout = build(stored, config, dtype=options.dtype, expect=expect)
    _check_vocabulary(trunk, reward_id, stored.where)
    return HpsV3Model(
        info=info_of(
            card, preprocess_id=sight.id, tokenizer_id=chat.id, weights=stored.refs(layout)
        ),
        sight=sight,
        chat=chat,
        patching=patching,
        trunk=trunk.to(device=options.device),
        head=head.to(device=options.device),
        reward_id=reward_id,
    )


def build(
    stored: Stored, config: Any, *, dtype: torch.dtype, expect: int | None
) -> tuple[Any, nn.Sequential, str]:
    """Return the trunk, the head and the layout the weights came in.

    The vocabulary's size is the weights'; the language model's own head is not kept.

    Args:
        stored: the weights, in either layout.
        config: of the trunk.
        dtype: of the trunk; the head is float32.
        expect: how many numbers the published model has, or None.

    Raises:
        WeightsMismatchError: not a whole HPSv3, or of another size.
    """
    from transformers import Qwen2VLModel

    state, layout = to_current(stored.state, stored.where)
    check_size(state, expect, stored.where)
    told = f"HPSv3 in {layout}'s layout"
    body = {name: value for name, value in state.items() if not name.startswith("rm_head.")}
    extra = [name for name in body if not name.startswith(("model.", "lm_head."))]
    if extra:
        raise mismatch(stored.where, told, [], extra, _HINT)
    config, body = deepcopy(config), under(body, "model.")
    config.text_config.vocab_size = len(body["language_model.embed_tokens.weight"])
    net = hollow(lambda: Qwen2VLModel(config))
    trunk = pour(net, body, dtype=dtype, where=stored.where, layout=told, prefix="model.")
    _round_frequencies(trunk)
    return trunk, _head(under(state, "rm_head."), stored.where, told), layout


def _head(state: State, where: str, told: str) -> nn.Sequential:
    """Return Linear, ReLU, (dropout), Linear, ReLU, Linear of the weights' own widths."""
    shapes = {n: state[f"{n}.weight"].shape for n in _LAYERS if f"{n}.weight" in state}
    if len(shapes) != len(_LAYERS):
        missing = [f"rm_head.{n}.weight" for n in _LAYERS if n not in shapes]
        raise mismatch(where, told, missing, [], _HINT)

    def build() -> nn.Sequential:
        first, second, last = (nn.Linear(shape[1], shape[0]) for shape in shapes.values())
        return nn.Sequential(first, nn.ReLU(), nn.Identity(), second, nn.ReLU(), last)

    net = hollow(build)
    return pour(net, state, dtype=torch.float32, where=where, layout=told, prefix="rm_head.")


def _round_frequencies(trunk: nn.Module) -> None:
    for name, buffer in trunk.named_buffers():
        if name.endswith("inv_freq"):
            buffer.copy_(buffer.to(torch.bfloat16))


def _asked(message: str, image_id: int, where: str, tokenizer: Any) -> tuple[Chat, int]:
    from tokenizers import AddedToken

    if message.count(REWARD) != 1:
        what = f"it names {REWARD} {message.count(REWARD)} times"
        raise DataError(what, where=where, hint="name it exactly once, where the score is read")
    tokenizer.add_tokens([AddedToken(REWARD, special=True, normalized=False)])
    chat = chat_of(tokenizer, message, image_id=image_id, where=where)
    return chat, int(tokenizer.convert_tokens_to_ids(REWARD))


def _check_vocabulary(trunk: Any, reward_id: int, where: str) -> None:
    rows = trunk.config.text_config.vocab_size
    if reward_id >= rows:
        what = f"{REWARD} is token {reward_id}, but the weights know {rows} tokens"
        hint = "give the tokenizer of Qwen/Qwen2-VL-7B-Instruct as the part 'base'"
        raise DataError(what, where=where, hint=hint)
