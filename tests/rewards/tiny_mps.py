"""Tiny random weights of MPS and of the aesthetic predictor v2.5, in their published layouts."""

import io
import zipfile
from collections import OrderedDict
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import CLIPModel, SiglipConfig, SiglipModel, SiglipVisionConfig, SiglipVisionModel

from diffpref.io import save_tensors, write_json

HEADS, HEAD, INNER, LAYERS = 2, 16, 40, 2
WIDTHS = (72, 24, 12, 8, 6, 1)
"""Of the head; the first is the tower's."""


def cross_state(width: int = 32, seed: int = 7) -> dict[str, Tensor]:
    """Return a cross model as the released module would list it, buffers included."""
    draw = torch.Generator().manual_seed(seed)
    shapes = {
        "0.fn.norm.weight": (width,),
        "0.fn.to_q.weight": (HEADS * HEAD, width),
        "0.fn.to_kv.weight": (2 * HEAD, width),
        "0.fn.to_out.weight": (width, HEADS * HEAD),
        "0.fn.ff.0.weight": (2 * INNER, width),
        "0.fn.ff.2.weight": (width, INNER),
        "1.fn.norm.weight": (width,),
        "1.fn.fused_attn_ff_proj.weight": ((HEADS + 2) * HEAD + 2 * INNER, width),
        "1.fn.attn_out.weight": (width, HEADS * HEAD),
        "1.fn.ff_out.1.weight": (width, INNER),
    }
    state: dict[str, Tensor] = {}
    for layer in range(LAYERS):
        ahead = f"cross_model.layers.{layer}."
        for name, shape in shapes.items():
            size = 1.0 if len(shape) == 1 else 1.5 * shape[-1] ** -0.5
            state[ahead + name] = torch.randn(shape, generator=draw) * size
        state[f"{ahead}0.fn.norm.bias"] = torch.zeros(width)
        state[f"{ahead}1.fn.norm.bias"] = torch.zeros(width)
        turns = 10000 ** (-torch.arange(0, HEAD, 2).float() / HEAD)
        state[f"{ahead}1.fn.rotary_emb.inv_freq"] = turns
    return state


def mps_clip() -> CLIPModel:
    """Return a tiny CLIP whose projected words lie mostly along one line, near to its middle or far
    from it, so that either threshold drops some of every few prompts' tokens."""
    from tests.rewards.tiny import clip_net

    net, draw = clip_net(), torch.Generator().manual_seed(54)
    with torch.no_grad():
        weight = net.text_projection.weight
        line = torch.outer(torch.randn(32, generator=draw), torch.randn(64, generator=draw))
        weight.add_(4 * weight.norm() * line / (32**0.5 * 8)).mul_(0.05)
    return net


def mps_state(prefix: str = "model.") -> dict[str, Tensor]:
    """Return the whole of a tiny MPS; the prefix is that of its CLIP."""
    state = mps_clip().state_dict()
    return {prefix + name: value for name, value in state.items()} | cross_state()


def write_mps(folder: Path) -> None:
    """Write what `convert` makes of the released module."""
    folder.mkdir(parents=True, exist_ok=True)
    save_tensors(folder / "model.safetensors", mps_state())


def siglip_config(side: int = 30) -> SiglipVisionConfig:
    """Return a tower of two layers whose patches of 14 leave a margin."""
    return SiglipVisionConfig(
        hidden_size=WIDTHS[0],
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=side,
        patch_size=14,
    )


def siglip_net(seed: int = 3) -> SiglipVisionModel:
    """Return stock transformers' tower with weights large enough to tell pictures apart."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = SiglipVisionModel(siglip_config()).eval()
    with torch.no_grad():
        for weight in net.parameters():
            weight.mul_(1 if weight.ndim < 2 else 3)
    return net


def whole_siglip() -> SiglipModel:
    """Return a whole SigLIP around that tower."""
    text = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "vocab_size": 50,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "projection_size": WIDTHS[0],
    }
    config = SiglipConfig(text_config=text, vision_config=siglip_config().to_dict())
    net = SiglipModel(config).eval()
    net.vision_model.load_state_dict(siglip_net().state_dict())
    return net


def v25_head(seed: int = 5) -> "OrderedDict[str, Tensor]":
    """Return a head in bfloat16, every tensor a view of one storage as in the published file."""
    sizes = list(pairwise(WIDTHS))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = nn.ModuleList(nn.Linear(*size) for size in sizes)
    values = list(layers.parameters())
    flat = torch.cat([value.detach().flatten() for value in values]).bfloat16()
    state: OrderedDict[str, Tensor] = OrderedDict()
    start = 0
    for number, value in enumerate(values):
        kind = "bias" if number % 2 else "weight"
        place = flat[start : start + value.numel()].view(value.shape)
        state[f"scoring_head.{number // 2 * 2}.{kind}"] = place
        start += value.numel()
    return state


def saved_on_a_gpu(state: dict[str, Tensor]) -> bytes:
    """Return torch's file of a state with its storages marked as living on a GPU."""
    buffer, moved = io.BytesIO(), io.BytesIO()
    torch.save(state, buffer)
    with zipfile.ZipFile(buffer) as old, zipfile.ZipFile(moved, "w") as new:
        for member in old.namelist():
            body = old.read(member)
            if member.endswith("data.pkl"):
                here, there = b"X\x03\0\0\0cpu", b"X\x06\0\0\0cuda:0"
                assert here in body
                body = body.replace(here, there)
            new.writestr(member, body)
    return moved.getvalue()


def write_v25(folder: Path) -> None:
    """Write the head's file and a whole SigLIP with its config."""
    (folder / "head").mkdir(parents=True, exist_ok=True)
    (folder / "head" / "x.pth").write_bytes(saved_on_a_gpu(v25_head()))
    write_siglip(folder / "backbone", dict(whole_siglip().state_dict()))


def write_siglip(folder: Path, state: dict[str, Tensor]) -> None:
    """Write a folder of weights whose config says the side, as weights alone cannot."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {"image_size": 30, "num_attention_heads": 2}
    write_json(folder / "config.json", {"model_type": "siglip", "vision_config": config})
    save_tensors(folder / "model.safetensors", state)
