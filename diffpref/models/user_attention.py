r"""Decoupled user cross-attention as a processor of stock attention layers.

    Z = softmax(Q K^T / \sqrt d) V + g softmax(Q K'^T / \sqrt d) V',   K' = u W'_K,  V' = u W'_V

with the layer's own Q and output projection (IP-Adapter, 2308.06721, eq. 5, as PPD, 2501.06655).
The two softmaxes are separate: what the text's attention sums to does not depend on the user.
"""

from typing import Any, Protocol

import torch
from diffusers.models.attention_processor import XFormersAttnProcessor
from jaxtyping import Float
from torch import Tensor

from diffpref.models.user_adapter import UserAdapter, UserLayer

Queries = Float[Tensor, "n l c"]
Keys = Float[Tensor, "n s c"]


class Attend(Protocol):
    """(layer, Q, K, V, mask) -> what every query reads, heads side by side."""

    def __call__(
        self, attn: Any, q: Queries, k: Keys, v: Keys, mask: Tensor | None, /
    ) -> Queries: ...


class UserAttention:
    """A cross-attention layer that also attends to its rows' users.

    With nobody told it calls the processor it replaced, so that the network is the base bit for
    bit; with V' = 0 or gates of 0 it adds zeros to the same numbers.
    """

    def __init__(self, plain: Any, layer: UserLayer, adapter: UserAdapter) -> None:
        """Put the layer's K' and V' beside the processor it had.

        Args:
            plain: the processor that is used when there is nobody.
            layer: K' and V'.
            adapter: says whom the current pass is for.
        """
        self.plain, self.layer, self.adapter = plain, layer, adapter
        self.attend: Attend = (
            attend_xformers if isinstance(plain, XFormersAttnProcessor) else attend_sdpa
        )

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        """Return the layer's output; images may come as [n l c] or [n c h w]."""
        heard = self.adapter.current
        if heard is None:
            return self.plain(attn, hidden_states, encoder_hidden_states, attention_mask, temb)
        flat = hidden_states.ndim == 3
        x = hidden_states if flat else hidden_states.flatten(2).transpose(1, 2)
        read = x if encoder_hidden_states is None else encoder_hidden_states
        query = attn.to_q(x)
        text = self.attend(attn, query, attn.to_k(read), attn.to_v(read), attention_mask)
        key, value = self.layer.to_k_ip(heard.tokens), self.layer.to_v_ip(heard.tokens)
        user = self.attend(attn, query, key, value, None)
        mixed = text + (heard.gate * user).to(text.dtype)
        out: Tensor = attn.to_out[1](attn.to_out[0](mixed))
        out = out if flat else out.transpose(1, 2).reshape(hidden_states.shape)
        return (out + hidden_states if attn.residual_connection else out) / (
            attn.rescale_output_factor
        )


def attend_sdpa(attn: Any, q: Queries, k: Keys, v: Keys, mask: Tensor | None, /) -> Queries:
    """Attend by torch's own kernel."""
    n, heads = len(q), attn.heads
    if mask is not None:
        prepared: Tensor = attn.prepare_attention_mask(mask, k.shape[1], n)
        mask = prepared.view(n, heads, -1, prepared.shape[-1])
    split = [each.view(n, -1, heads, each.shape[-1] // heads).transpose(1, 2) for each in (q, k, v)]
    out = torch.nn.functional.scaled_dot_product_attention(*split, attn_mask=mask)
    return out.transpose(1, 2).reshape(n, -1, q.shape[-1]).to(q.dtype)


def attend_xformers(attn: Any, q: Queries, k: Keys, v: Keys, mask: Tensor | None, /) -> Queries:
    """Attend by xformers, which the stock processor this one replaced used too."""
    from xformers.ops import memory_efficient_attention  # pyright: ignore[reportMissingImports]

    if mask is not None:
        mask = attn.prepare_attention_mask(mask, k.shape[1], len(q)).expand(-1, q.shape[1], -1)
    split = [attn.head_to_batch_dim(each).contiguous() for each in (q, k, v)]
    out = memory_efficient_attention(*split, attn_bias=mask, scale=attn.scale)
    return attn.batch_to_head_dim(out.to(q.dtype))
