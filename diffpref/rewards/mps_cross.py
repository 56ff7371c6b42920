r"""The network of MPS in which image tokens ask the prompt's tokens, and then each other.

Two residual blocks per layer:

    x <- x + attend(q = Q n, k, v = K c, V c; kept tokens only) + ff(n),      n = norm(x)
    x <- x + attend(q, k, v = rotated Q n, rotated K n, V n) + ff(n),         n = norm(x)
    ff(n) = D (a * silu(b)),  (a, b) = U n

All heads share one key and one value (multi-query, 1911.02150). Rotation is by half-split pairs at
base 10000 (RoFormer, 2104.09864), the class token being position 0. Norms have no learned bias.
Module names follow the published weights.

Departs from the released code: angles in float32 also where the network is half precision (the
released buffer then rounds them, by up to 0.1 rad at the last positions).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

BASE = 10_000.0
"""Of the rotary angles."""

Tokens = Float[Tensor, "n t d"]
Keep = Bool[Tensor, "n l"]


@dataclass(frozen=True, kw_only=True)
class CrossSizes:
    """Sizes of the cross model: `head` is the width of one head, `inner` of the feed-forward."""

    width: int
    layers: int
    heads: int
    head: int
    inner: int


class CrossModel(nn.Module):
    """Layers of both blocks; returns the image tokens as they have become."""

    def __init__(self, sizes: CrossSizes) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.ModuleList((_Residual(_Asking(sizes)), _Residual(_Mixing(sizes))))
            for _ in range(sizes.layers)
        )

    def forward(self, image: Tokens, prompt: Float[Tensor, "n l d"], keep: Keep) -> Tokens:
        for layer in self.layers:
            assert isinstance(layer, nn.ModuleList)
            asking, mixing = layer
            image = mixing(asking(image, prompt, keep))
        return image


class _Residual(nn.Module):
    """Adds what a block says to what it was told; the block is `fn` in the published names."""

    def __init__(self, fn: nn.Module) -> None:
        super().__init__()
        self.fn = fn

    def forward(self, x: Tokens, *told: Tensor) -> Tokens:
        return x + self.fn(x, *told)


class _Asking(nn.Module):
    """Image tokens read the kept prompt tokens, beside a feed-forward."""

    def __init__(self, sizes: CrossSizes) -> None:
        super().__init__()
        self.head = sizes.head
        self.norm = _Norm(sizes.width)
        self.to_q = _linear(sizes.width, sizes.heads * sizes.head)
        self.to_kv = _linear(sizes.width, 2 * sizes.head)
        self.to_out = _linear(sizes.heads * sizes.head, sizes.width)
        self.ff = nn.Sequential(
            _linear(sizes.width, 2 * sizes.inner), _Gate(), _linear(sizes.inner, sizes.width)
        )

    def forward(self, x: Tokens, prompt: Tensor, keep: Keep) -> Tokens:
        x = self.norm(x)
        queries = _heads(self.to_q(x), self.head)
        keys, values = (_heads(part, self.head) for part in self.to_kv(prompt).chunk(2, dim=-1))
        return self.to_out(_attend(queries, keys, values, keep[:, None, None])) + self.ff(x)


class _Mixing(nn.Module):
    """Image tokens read each other by position, beside a feed-forward, all projected at once."""

    def __init__(self, sizes: CrossSizes) -> None:
        super().__init__()
        self.head = sizes.head
        self.split = (sizes.heads * sizes.head, sizes.head, sizes.head, 2 * sizes.inner)
        self.norm = _Norm(sizes.width)
        self.fused_attn_ff_proj = _linear(sizes.width, sum(self.split))
        self.attn_out = _linear(sizes.heads * sizes.head, sizes.width)
        self.ff_out = nn.Sequential(_Gate(), _linear(sizes.inner, sizes.width))

    def forward(self, x: Tokens) -> Tokens:
        *asked, inner = self.fused_attn_ff_proj(self.norm(x)).split(self.split, dim=-1)
        queries, keys, values = (_heads(part, self.head) for part in asked)
        mixed = _attend(rotated(queries), rotated(keys), values, None)
        return self.attn_out(mixed) + self.ff_out(inner)


class _Norm(nn.Module):
    """Layer norm whose bias is not learned; it is stored as zeros."""

    bias: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.register_buffer("bias", torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        return functional.layer_norm(x, self.weight.shape, self.weight, self.bias)


class _Gate(nn.Module):
    """SwiGLU: the first half, gated by the second (2002.05202)."""

    def forward(self, x: Tensor) -> Tensor:
        value, gate = x.chunk(2, dim=-1)
        return value * functional.silu(gate)


def inverse_frequencies(head: int) -> Float[Tensor, " half"]:
    """Return the turn per position of each pair of a head, in radians, float64."""
    return BASE ** (-torch.arange(0, head, 2, dtype=torch.float64) / head)


def rotated(x: Float[Tensor, "n h t e"]) -> Float[Tensor, "n h t e"]:
    """Turn each pair (i, i + e/2) of every token by its position; angles are float32 or wider."""
    kind = torch.promote_types(x.dtype, torch.float32)
    turns = inverse_frequencies(x.shape[-1]).to(device=x.device, dtype=kind)
    angles = torch.arange(x.shape[-2], device=x.device, dtype=kind)[:, None] * turns
    cosine, sine = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cosine - second * sine, second * cosine + first * sine), dim=-1)


def _linear(inputs: int, outputs: int) -> nn.Linear:
    return nn.Linear(inputs, outputs, bias=False)


def _heads(x: Tensor, head: int) -> Float[Tensor, "n h t e"]:
    return x.unflatten(-1, (-1, head)).transpose(1, 2)


def _attend(
    queries: Tensor, keys: Tensor, values: Tensor, keep: Tensor | None
) -> Float[Tensor, "n t he"]:
    """Attend with one key and value for all heads, and put the heads side by side."""
    shared = (-1, queries.shape[1], -1, -1)
    found = functional.scaled_dot_product_attention(
        queries, keys.expand(shared), values.expand(shared), attn_mask=keep
    )
    return found.transpose(1, 2).flatten(2)
