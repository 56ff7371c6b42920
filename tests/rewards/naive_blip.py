"""BLIP's encoder written from its description alone: float64, one attention head at a time.

An image tower of pre-norm blocks (timm's ViT) and BERT of post-norm layers, in each of which the
words may attend to the image between themselves and the MLP. Keys are Salesforce's.
"""

from math import erf, sqrt

import torch
from torch import Tensor

State = dict[str, Tensor]

HEAD = 64


def linear(state: State, name: str, x: Tensor) -> Tensor:
    return x @ state[f"{name}.weight"].double().T + state[f"{name}.bias"].double()


def norm(state: State, name: str, x: Tensor, eps: float) -> Tensor:
    centred = x - x.mean(dim=-1, keepdim=True)
    variance = (centred**2).mean(dim=-1, keepdim=True)
    scaled = centred / torch.sqrt(variance + eps)
    return scaled * state[f"{name}.weight"].double() + state[f"{name}.bias"].double()


def gelu(x: Tensor) -> Tensor:
    halves = [0.5 * value * (1 + erf(value / sqrt(2))) for value in x.flatten().tolist()]
    return torch.tensor(halves, dtype=torch.float64).view(x.shape)


def attend(query: Tensor, key: Tensor, value: Tensor, allowed: Tensor) -> Tensor:
    """Return attention of [q d] over [k d]; `allowed` is [q k], true where it may look."""
    found = torch.zeros_like(query)
    for start in range(0, query.shape[1], HEAD):
        part = slice(start, start + HEAD)
        scores = query[:, part] @ key[:, part].T / sqrt(HEAD)
        weights = torch.where(allowed, scores, -torch.inf).softmax(dim=1)
        found[:, part] = weights @ value[:, part]
    return found


def look(state: State, seen: Tensor, *, eps: float = 1e-6) -> Tensor:
    """Return the tower's output [p v] for one picture [3 y x]."""
    kernel = state["visual_encoder.patch_embed.proj.weight"].double()
    side = kernel.shape[-1]
    rows = [state["visual_encoder.cls_token"][0, 0].double()]
    for top in range(0, seen.shape[1], side):
        for left in range(0, seen.shape[2], side):
            patch = seen[:, top : top + side, left : left + side].double()
            told = (kernel * patch).sum(dim=(1, 2, 3))
            rows.append(told + state["visual_encoder.patch_embed.proj.bias"].double())
    x = torch.stack(rows) + state["visual_encoder.pos_embed"][0].double()
    everywhere = torch.ones(len(x), len(x), dtype=torch.bool)
    number = 0
    while f"visual_encoder.blocks.{number}.norm1.weight" in state:
        block = f"visual_encoder.blocks.{number}"
        joint = linear(state, f"{block}.attn.qkv", norm(state, f"{block}.norm1", x, eps))
        x = x + linear(state, f"{block}.attn.proj", attend(*joint.chunk(3, dim=1), everywhere))
        inner = linear(state, f"{block}.mlp.fc1", norm(state, f"{block}.norm2", x, eps))
        x = x + linear(state, f"{block}.mlp.fc2", gelu(inner))
        number += 1
    return norm(state, "visual_encoder.norm", x, eps)


def read(
    state: State, ids: list[int], patches: Tensor | None = None, *, causal: bool = False
) -> Tensor:
    """Return BERT's state of every word [l d]; ids are without filling."""
    eps, name = 1e-12, "text_encoder.embeddings"
    words = state[f"{name}.word_embeddings.weight"].double()[ids]
    places = state[f"{name}.position_embeddings.weight"].double()[: len(ids)]
    x = norm(state, f"{name}.LayerNorm", words + places, eps)
    all_words = torch.ones(len(ids), len(ids), dtype=torch.bool)
    allowed = all_words.tril() if causal else all_words
    number = 0
    while f"text_encoder.encoder.layer.{number}.intermediate.dense.weight" in state:
        layer = f"text_encoder.encoder.layer.{number}"
        x = _exchange(state, f"{layer}.attention", x, x, allowed)
        if patches is not None:
            every_patch = torch.ones(len(ids), len(patches), dtype=torch.bool)
            x = _exchange(state, f"{layer}.crossattention", x, patches, every_patch)
        inner = gelu(linear(state, f"{layer}.intermediate.dense", x))
        told = linear(state, f"{layer}.output.dense", inner)
        x = norm(state, f"{layer}.output.LayerNorm", x + told, eps)
        number += 1
    return x


def _exchange(state: State, name: str, x: Tensor, seen: Tensor, allowed: Tensor) -> Tensor:
    query = linear(state, f"{name}.self.query", x)
    key, value = (linear(state, f"{name}.self.{kind}", seen) for kind in ("key", "value"))
    told = linear(state, f"{name}.output.dense", attend(query, key, value, allowed))
    return norm(state, f"{name}.output.LayerNorm", x + told, 1e-12)


def affine(state: State, numbers: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Return the one weight and bias that linear layers `mlp.layers.<n>` amount to."""
    weight = torch.eye(state[f"mlp.layers.{numbers[0]}.weight"].shape[1], dtype=torch.float64)
    bias = torch.zeros(len(weight), dtype=torch.float64)
    for number in numbers:
        layer = state[f"mlp.layers.{number}.weight"].double()
        weight, bias = layer @ weight, layer @ bias + state[f"mlp.layers.{number}.bias"].double()
    return weight, bias
