"""A decoder that reads conversations: hidden states, independent of how a batch is filled.

Rows are filled on the right and masked. Attention is causal, so what follows a token changes
nothing before it; where to read is counted in the row itself and never found by looking for a
filler, which may be a token of the conversation as well (pad == eos).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

FILLER = 0
"""Any token: it is masked."""


@dataclass(frozen=True, kw_only=True)
class Decoder:
    """A frozen network without a head."""

    net: Any

    def states(self, rows: Sequence[Sequence[int]]) -> Float[Tensor, "n l d"]:
        """Return the last layer's states, in the network's precision; rubbish beyond a row."""
        device, longest = self.net.device, max(map(len, rows))
        ids = torch.full((len(rows), longest), FILLER)
        mask = torch.zeros(len(rows), longest, dtype=torch.long)
        for number, row in enumerate(rows):
            ids[number, : len(row)] = torch.tensor(row)
            mask[number, : len(row)] = 1
        found = self.net(input_ids=ids.to(device), attention_mask=mask.to(device), use_cache=False)
        return found.last_hidden_state


def at(states: Float[Tensor, "n l d"], places: Sequence[int]) -> Float[Tensor, "n d"]:
    """Return one state of each row, in float32."""
    index: Int[Tensor, " n"] = torch.tensor(places, device=states.device)
    return states[torch.arange(len(places), device=states.device), index].float()


def ends(rows: Sequence[Sequence[int]]) -> list[int]:
    """Return the place of each row's last token."""
    return [len(row) - 1 for row in rows]
