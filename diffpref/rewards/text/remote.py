"""Reward models too large for this machine, behind a pooling endpoint such as vLLM's.

The file is `weights=FILE`, WEIGHTS_DIR/<scorer>/endpoint.yaml or the same in $DIFFPREF_WEIGHTS;
its fields, all of which may be left out:

    url: http://127.0.0.1:8000    # else $DIFFPREF_REWARD_URL
    model: Qwen/WorldPM-72B       # else $DIFFPREF_REWARD_MODEL
    key_variable: DIFFPREF_REWARD_KEY
    path: /pooling                # below the address; vLLM has it at the root, not under /v1
    timeout: 120                  # seconds
    retries: 4
    workers: 4                    # requests at once
    extra: {}                     # more fields of the request; null takes one out

Every conversation is one request, {"model", "messages", "add_generation_prompt": false,
"use_activation": false}; the server writes it down by the model's own template. Read are
{"data": [{"data": numbers}]}, where of one number per token the last counts, {"data":
[{"embedding": [number]}]} and {"score": number}.

WorldPM (2505.10527) was trained with an empty system message, which is sent; its reward stands at
the last token, `<|endoftext|>`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import torch

from diffpref.errors import UsageError
from diffpref.io.http import EndpointError
from diffpref.rewards.described import find_description
from diffpref.rewards.endpoint import Endpoint, endpoint_of
from diffpref.rewards.fields import Fields, read_fields
from diffpref.rewards.info import ScorerInfo, WeightRef, info_of
from diffpref.rewards.options import LoadOptions
from diffpref.rewards.text.cards import TEXT_SCORERS
from diffpref.types import PerRow

FILE = "endpoint.yaml"
VARIABLES = "DIFFPREF_REWARD"


@dataclass(frozen=True, kw_only=True)
class RemoteReward:
    """One number per conversation from a server; `system` is the system message, if any."""

    info: ScorerInfo
    endpoint: Endpoint
    path: str
    system: str | None

    def judge(self, prompts: Sequence[str], responses: Sequence[str], /) -> PerRow:
        """Return the scores.

        Raises:
            EndpointError: the server cannot be reached or gives no number.
        """
        pairs, found = list(zip(prompts, responses, strict=True)), torch.zeros(len(prompts))

        def ask(number: int) -> None:
            reply = self.endpoint.ask(self.path, self._body(*pairs[number]))
            found[number] = reward_of(reply, self.endpoint.url)

        self.endpoint.together(ask, range(len(pairs)))
        return found

    def overlong(self, prompts: Sequence[str], responses: Sequence[str], /) -> list[bool]:
        """Return False: only the server knows, and it refuses what is too long."""
        del responses
        return [False] * len(prompts)

    def to(self, device: torch.device | None, dtype: torch.dtype | None, /) -> "RemoteReward":
        """Return itself: it computes where its server is."""
        del device, dtype
        return self

    def _body(self, prompt: str, response: str) -> dict[str, Any]:
        turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]
        if self.system is not None:
            turns.insert(0, {"role": "system", "content": self.system})
        return {"messages": turns, "add_generation_prompt": False, "use_activation": False}


def reward_of(reply: object, url: str) -> float:
    """Return the number in a server's answer.

    Raises:
        EndpointError: it has another form, or several numbers for a token.
    """
    found = _numbers(reply)
    if isinstance(found, list) and found and isinstance(found[-1], list):
        found = found[-1]
    elif isinstance(found, list) and len(found) > 1:
        found = None
    value = found[0] if isinstance(found, list) and len(found) == 1 else found
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        hint = "serve it as a reward model: vllm serve MODEL --runner pooling"
        raise EndpointError("the answer holds no single reward", where=url, hint=hint)
    return float(value)


def _numbers(reply: object) -> Any:
    if not isinstance(reply, dict):
        return None
    data = reply.get("data")
    if isinstance(data, list) and len(data) == 1 and isinstance(data[0], dict):
        return data[0].get("data", data[0].get("embedding"))
    return reply.get("score")


def load_worldpm(options: LoadOptions) -> RemoteReward:
    """Return WorldPM-72B behind an endpoint."""
    return _load("worldpm", options, system="")


def load_remote(options: LoadOptions) -> RemoteReward:
    """Return any scalar reward model behind an endpoint, without a system message."""
    return _load("reward-endpoint", options, system=None)


def _load(name: str, options: LoadOptions, *, system: str | None) -> RemoteReward:
    card, where = TEXT_SCORERS[name], f"scorer {name}"
    path = find_description(card, FILE, options)
    told = read_fields(path) if path is not None else Fields({}, where)
    endpoint = endpoint_of(told, VARIABLES, where)
    below = told.text("path", "/pooling")
    told.done()
    if not below.startswith("/"):
        raise UsageError(f"the path is {below}", where=where, hint="it begins with /")
    who = WeightRef(file=endpoint.model, sha256=endpoint.id, layout="endpoint")
    info = info_of(card, preprocess_id="text", tokenizer_id="the server's", weights=(who,))
    return RemoteReward(info=info, endpoint=endpoint, path=below, system=system)
