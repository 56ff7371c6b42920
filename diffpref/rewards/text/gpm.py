r"""General Preference Model: preferences that need not be transitive (2410.02197).

    v(x, y) = V h(end) / |V h(end)|                          in R^{2k}
    s(a, b | x) = \sum_k l_k (a_{2k} b_{2k+1} - a_{2k+1} b_{2k})
    l = softmax(P h(end of prompt)), or 1 where the model has no prompt head
    P(a preferred to b) = sigmoid(s / 0.1)

s is skew-symmetric, so a response ties with itself and there is no score of one alone. Follows the
released example (gpm_example_usage.py), which the published weights fit; the training code of the
repository has other names and another gate. As there, the last token becomes the end token, and
templates that write a start token keep the second one the tokenizer adds.

Departs from it: filled on the right instead of the left with shifted positions, which is the same;
heads in float32.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from diffpref.errors import DataError
from diffpref.rewards.info import ScorerInfo, info_of
from diffpref.rewards.options import LoadOptions
from diffpref.rewards.state import mismatch
from diffpref.rewards.text.cards import TEXT_SCORERS
from diffpref.rewards.text.chat import Chat, chat_of
from diffpref.rewards.text.decoder import Decoder, at, ends
from diffpref.rewards.text.weights import check_count, find_folder, host, read_heads, refs_of

TAU = 0.1
HEADS = ("value_head.", "prompt_head.")


@dataclass(frozen=True, kw_only=True)
class GeneralPreference:
    """A decoder with a head of 2k values and, if it has one, a gate of k."""

    info: ScorerInfo
    chat: Chat
    decoder: Decoder
    end: int
    value_head: Float[Tensor, "v d"]
    prompt_head: Float[Tensor, "k d"] | None = None

    def preferences(
        self, prompt: str, responses: Sequence[str], /, *, batch_size: int
    ) -> Float[Tensor, "i i"]:
        """Return the probability that response a is preferred to b, on the CPU."""
        if not responses:
            return torch.zeros(0, 0)
        parts = [
            self.embed(prompt, responses[start : start + batch_size])
            for start in range(0, len(responses), batch_size)
        ]
        values, gates = (torch.cat(column) for column in zip(*parts, strict=True))
        return (skew(values, gates[:1]) / TAU).sigmoid().cpu()

    def embed(
        self, prompt: str, responses: Sequence[str]
    ) -> tuple[Float[Tensor, "i v"], Float[Tensor, "i k"]]:
        """Return each response's unit embedding, and the prompt's gate, alike in every row."""
        rows = self.chat.rows([prompt] * len(responses), responses)
        rows = [[*row[:-1], self.end] for row in rows]
        states = self.decoder.states(rows)
        values = functional.normalize(at(states, ends(rows)) @ self.value_head.T, dim=-1)
        if self.prompt_head is None:
            return values, values.new_ones(len(rows), values.shape[1] // 2)
        opening = len(self.chat.opening(prompt))
        places = [min(opening, len(row)) - 1 for row in rows]
        return values, (at(states, places) @ self.prompt_head.T).softmax(dim=-1)

    def overlong(self, prompts: Sequence[str], responses: Sequence[str], /) -> list[bool]:
        return self.chat.overlong(prompts, responses)

    def to(self, device: torch.device | None, dtype: torch.dtype | None, /) -> "GeneralPreference":
        net = deepcopy(self.decoder.net).to(device=device, dtype=dtype)
        gate = None if self.prompt_head is None else self.prompt_head.to(device=device)
        values = self.value_head.to(device=device)
        return replace(self, decoder=Decoder(net=net), value_head=values, prompt_head=gate)


def skew(values: Float[Tensor, "i v"], gate: Float[Tensor, "1 k"]) -> Float[Tensor, "i i"]:
    """Return s(a, b) of all pairs."""
    even, odd = values[:, 0::2] * gate, values[:, 1::2]
    ahead = even @ odd.T
    return ahead - ahead.T


def load_gpm(options: LoadOptions) -> GeneralPreference:
    """Return a general preference model.

    Raises:
        WeightsMismatchError: its heads are missing or do not fit each other.
    """
    from transformers import AutoModel

    card = TEXT_SCORERS["gpm"]
    folder = find_folder(card, options)
    net = host(AutoModel, folder, options, heads=HEADS)
    heads = {n: v.to(options.device) for n, v in read_heads(folder, HEADS).items()}
    check_count(net, sum(v.numel() for v in heads.values()), card, options, str(folder))
    value, gate = heads.get("value_head.weight"), heads.get("prompt_head.weight")
    if value is None or value.shape[0] % 2 or (gate is not None and len(gate) * 2 != len(value)):
        told = [f"{name} {tuple(head.shape)}" for name, head in heads.items()] or ["no heads"]
        hint = "give a folder such as that of general-preference/GPM-Llama-3.1-8B"
        raise mismatch(str(folder), "GPM", ["value_head.weight of even size"], told, hint)
    chat = chat_of(folder, net.config.max_position_embeddings, double_start=True)
    if chat.tokenizer.eos_token_id is None:
        hint = "use the tokenizer the model was published with"
        raise DataError("its tokenizer has no end token", where=str(folder), hint=hint)
    return GeneralPreference(
        info=info_of(
            card,
            variant=options.variant,
            preprocess_id="text",
            tokenizer_id="chat-template",
            weights=refs_of(folder, "gpm"),
        ),
        chat=chat,
        decoder=Decoder(net=net),
        end=chat.tokenizer.eos_token_id,
        value_head=value,
        prompt_head=gate,
    )
