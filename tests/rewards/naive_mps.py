"""MPS again, token by token in float64; nothing here is of the package."""

from collections.abc import Mapping, Sequence
from math import cos, sin, sqrt

import torch
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor
from transformers import CLIPModel

BASE = 10_000
WORDS = SimpleTokenizer()
SENTENCE = (
    "light, color, clarity, tone, style, ambiance, artistry, shape, face, hair, hands, limbs, "
    "structure, instance, texture, quantity, attributes, position, number, location, word, things."
)


def ids_of(prompt: str, fill: int = 49407) -> Tensor:
    """Return 77 ids, the rest of a short prompt filled."""
    words = [49406, *WORDS.encode(prompt)[:75], 49407]
    return torch.tensor([words + [fill] * (77 - len(words))])


def text(clip: CLIPModel, ids: Tensor) -> tuple[Tensor, Tensor]:
    """Return the projected states of all positions, and of the first end of the text."""
    states = clip.text_model(input_ids=ids).last_hidden_state[0]
    projected = states @ clip.text_projection.weight.T
    end = ids[0].tolist().index(49407)
    return projected, projected[end]


def image(clip: CLIPModel, seen: Tensor, *, final_norm: bool = False) -> Tensor:
    """Return the projected states that leave the last layer of the vision tower."""
    states = clip.vision_model(pixel_values=seen[None], output_hidden_states=True).hidden_states
    last = states[-1][0]
    if final_norm:
        last = clip.vision_model.post_layernorm(last)
    return torch.stack([clip.visual_projection.weight @ state for state in last])


def closeness(tokens: Tensor, aspects: Tensor) -> list[float]:
    return [float((aspects @ token).max()) for token in tokens]


def keep(close: Sequence[float], threshold: float, most: float | None = None) -> list[bool]:
    """Return what is kept relative to the largest, of this prompt unless told another."""
    return [value / (max(close) if most is None else most) > threshold for value in close]


def norm(x: Tensor, weight: Tensor) -> Tensor:
    middle = x - x.mean()
    return weight * middle / sqrt(float((middle**2).mean()) + 1e-5)


def silu(x: Tensor) -> Tensor:
    return x / (1 + torch.exp(-x))


def attend(query: Tensor, keys: Sequence[Tensor], values: Sequence[Tensor]) -> Tensor:
    scale = len(query) ** -0.5
    weights = [torch.exp(query @ key * scale) for key in keys]
    weighted = [w * v for w, v in zip(weights, values, strict=True)]
    return torch.stack(weighted).sum(0) / torch.stack(weights).sum()


def turn(x: Tensor, place: int) -> Tensor:
    half = len(x) // 2
    turned = x.clone()
    for i in range(half):
        angle = place * BASE ** (-2 * i / len(x))
        turned[i] = x[i] * cos(angle) - x[i + half] * sin(angle)
        turned[i + half] = x[i] * sin(angle) + x[i + half] * cos(angle)
    return turned


def heads_of(query: Tensor, head: int) -> list[Tensor]:
    return [query[start : start + head] for start in range(0, len(query), head)]


def forward(inner: Tensor, down: Tensor, *, swap: bool) -> Tensor:
    half = len(inner) // 2
    value, gate = (inner[half:], inner[:half]) if swap else (inner[:half], inner[half:])
    return down @ (value * silu(gate))


def cross(
    weights: Mapping[str, Tensor],
    x: Tensor,
    prompt: Tensor,
    kept: Sequence[bool],
    *,
    places: Sequence[int] | None = None,
    swap: bool = False,
) -> Tensor:
    """Return the image tokens after every layer. The keywords are mistakes one could make."""
    told = [token for token, kept_ in zip(prompt, kept, strict=True) if kept_]
    places = list(range(len(x))) if places is None else places
    layer = 0
    while f"cross_model.layers.{layer}.0.fn.to_q.weight" in weights:
        w = {
            name.split(f"layers.{layer}.")[1].replace(".weight", ""): value
            for name, value in weights.items()
            if f"layers.{layer}." in name
        }
        head = w["0.fn.to_kv"].shape[0] // 2
        keys = [w["0.fn.to_kv"][:head] @ token for token in told]
        values = [w["0.fn.to_kv"][head:] @ token for token in told]
        rows = []
        for token in x:
            n = norm(token, w["0.fn.norm"])
            found = [attend(q, keys, values) for q in heads_of(w["0.fn.to_q"] @ n, head)]
            ff = forward(w["0.fn.ff.0"] @ n, w["0.fn.ff.2"], swap=swap)
            rows.append(token + w["0.fn.to_out"] @ torch.cat(found) + ff)
        x = torch.stack(rows)

        wide = w["1.fn.attn_out"].shape[1]
        joint = [w["1.fn.fused_attn_ff_proj"] @ norm(token, w["1.fn.norm"]) for token in x]
        keys = [turn(j[wide : wide + head], p) for j, p in zip(joint, places, strict=True)]
        values = [j[wide + head : wide + 2 * head] for j in joint]
        rows = []
        for token, j, place in zip(x, joint, places, strict=True):
            found = [attend(turn(q, place), keys, values) for q in heads_of(j[:wide], head)]
            ff = forward(j[wide + 2 * head :], w["1.fn.ff_out.1"], swap=swap)
            rows.append(token + w["1.fn.attn_out"] @ torch.cat(found) + ff)
        x = torch.stack(rows)
        layer += 1
    return x


def cosine(a: Tensor, b: Tensor) -> float:
    return float(a @ b / (a.norm() * b.norm()))
