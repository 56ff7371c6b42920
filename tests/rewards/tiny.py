"""Tiny random weights of every scorer in its published layout, written where a user would put them.

`TINY[name](folder)` fills WEIGHTS_DIR/<name>; the scorer is then loaded by its own loader with
`weights_dir=WEIGHTS_DIR, published=False`.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn
from transformers import CLIPConfig, CLIPModel

from diffpref.io import save_tensors
from diffpref.rewards import load_scorer
from diffpref.rewards.heads.embeddings import fingerprint
from diffpref.rewards.heads.files import save_head
from diffpref.rewards.heads.head import EmbedderRef
from diffpref.users import find_prior, null_profile, save_profile
from tests.rewards import tiny_mps, tiny_text
from tests.rewards.heads.conftest import pairs_of, random_head
from tests.rewards.tiny_blip import write_imagereward, write_itc, write_itm
from tests.rewards.tiny_vlm import TINY_VLM


def seeded(build: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    """Return a network with random weights that depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build().eval()


def clip_net(*, side: int = 28, act: str = "gelu", seed: int = 0) -> CLIPModel:
    """Return a two-layer CLIP of width 64 and 128, patches of 14, the full vocabulary."""
    shared = {"num_hidden_layers": 2, "hidden_act": act, "projection_dim": 32}
    text = {
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_attention_heads": 1,
        "vocab_size": 49408,
        "bos_token_id": 49406,
        "eos_token_id": 49407,
    }
    vision = {
        "hidden_size": 128,
        "intermediate_size": 160,
        "num_attention_heads": 2,
        "image_size": side,
        "patch_size": 14,
    }
    config = CLIPConfig(text_config=text | shared, vision_config=vision | shared, projection_dim=32)
    net = seeded(lambda: CLIPModel(config), seed)
    assert isinstance(net, CLIPModel)
    with torch.no_grad():  # stock initialisation leaves every embedding nearly the same
        for weight in net.parameters():
            weight.mul_(1 if weight.ndim < 2 else 4)
        net.logit_scale.fill_(4.6052)
    return net


def plain(net: nn.Module, prefix: str = "") -> dict[str, torch.Tensor]:
    """Return a network's weights as they would be stored."""
    return {prefix + name: value.contiguous() for name, value in net.state_dict().items()}


def write_clip(folder: Path, **told: object) -> None:
    """Write transformers' folder layout: config.json and model.safetensors."""
    net = clip_net(**told)  # pyright: ignore[reportArgumentType]
    folder.mkdir(parents=True, exist_ok=True)
    net.config.save_pretrained(str(folder))
    save_tensors(folder / "model.safetensors", plain(net), {"format": "pt"})


def write_hps(folder: Path) -> None:
    """Write one checkpoint under a strange name, its weights in open_clip's layout."""
    folder.mkdir(parents=True, exist_ok=True)
    state = to_open_clip(plain(clip_net()))
    torch.save({"epoch": 3, "state_dict": {k: v.half() for k, v in state.items()}}, folder / "x.pt")


def write_laion(folder: Path) -> None:
    """Write the affine head and its backbone."""
    write_clip(folder / "backbone", act="quick_gelu")
    (folder / "head").mkdir()
    widths = (32, 24, 12, 8, 6, 1)
    layers = {n: (widths[i], widths[i + 1]) for i, n in enumerate((0, 2, 4, 6, 7))}
    head = seeded(lambda: nn.ModuleDict({str(n): nn.Linear(*size) for n, size in layers.items()}))
    torch.save(plain(head, "layers."), folder / "head" / "predictor.pth")


def to_open_clip(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return transformers' CLIP weights under open_clip's keys; written from open_clip's module
    names, the other way round and independently of `clip_keys`."""
    found = {
        "logit_scale": state["logit_scale"],
        "text_projection": state["text_projection.weight"].T,
        "visual.proj": state["visual_projection.weight"].T,
        "token_embedding.weight": state["text_model.embeddings.token_embedding.weight"],
        "positional_embedding": state["text_model.embeddings.position_embedding.weight"],
        "visual.class_embedding": state["vision_model.embeddings.class_embedding"],
        "visual.conv1.weight": state["vision_model.embeddings.patch_embedding.weight"],
        "visual.positional_embedding": state["vision_model.embeddings.position_embedding.weight"],
    }
    for theirs, ours in (
        ("ln_final", "text_model.final_layer_norm"),
        ("visual.ln_pre", "vision_model.pre_layrnorm"),
        ("visual.ln_post", "vision_model.post_layernorm"),
    ):
        found |= {f"{theirs}.{kind}": state[f"{ours}.{kind}"] for kind in ("weight", "bias")}
    for theirs, ours in (("", "text_model"), ("visual.", "vision_model")):
        number = 0
        while f"{ours}.encoder.layers.{number}.layer_norm1.weight" in state:
            ahead = f"{ours}.encoder.layers.{number}"
            block = f"{theirs}transformer.resblocks.{number}"
            for kind in ("weight", "bias"):
                joint = [state[f"{ahead}.self_attn.{part}_proj.{kind}"] for part in "qkv"]
                found[f"{block}.attn.in_proj_{kind}"] = torch.cat(joint)
                for inner, outer in (
                    ("attn.out_proj", "self_attn.out_proj"),
                    ("ln_1", "layer_norm1"),
                    ("ln_2", "layer_norm2"),
                    ("mlp.c_fc", "mlp.fc1"),
                    ("mlp.c_proj", "mlp.fc2"),
                ):
                    found[f"{block}.{inner}.{kind}"] = state[f"{ahead}.{outer}.{kind}"]
            number += 1
    return {name: value.contiguous() for name, value in found.items()}


def write_clipscore(folder: Path) -> None:
    """Write one model per variant; with this seed no cosine of the tests is negative (clamped)."""
    for variant in ("torchmetrics", "hessel", "dpo-vith"):
        act = "gelu" if variant == "dpo-vith" else "quick_gelu"
        write_clip(folder / variant, act=act, seed=35)


def write_head(folder: Path) -> None:
    """Write a random head on the bundled reward's embeddings, as `train-reward` does."""
    rng = torch.Generator().manual_seed(1)
    table = torch.nn.functional.normalize(torch.randn(2, 9, 64, generator=rng), dim=2)
    index = torch.randint(0, 9, (20, 3), generator=rng)
    pairs = pairs_of(table[0], table[1], index, index[:, 0] % 2, torch.ones(20), 2)
    head = random_head("lore", pairs, {"ana": torch.tensor([2.0, 0.0, -2.0])})
    ref = EmbedderRef(
        scorer="world-reward", fingerprint=fingerprint(load_scorer("world-reward").info)
    )
    save_head(folder, replace(head, embedder=ref))


def write_nothing(_folder: Path) -> None:
    """The scorers of the world bring their own."""


def write_profile(folder: Path) -> None:
    """Write the profile of somebody of the bundled population."""
    folder.mkdir(parents=True, exist_ok=True)
    profile = null_profile(find_prior("bt-world"))
    mean = profile.belief.mean + torch.linspace(-1, 1, len(profile.belief.mean)).double()
    belief = replace(profile.belief, mean=mean.float().double())
    save_profile(folder / "me.profile", replace(profile, belief=belief))


TINY: Mapping[str, Callable[[Path], None]] = {
    "clipscore": write_clipscore,
    "pickscore": write_clip,
    "hpsv2": write_hps,
    "hpsv2.1": write_hps,
    "laion-aesthetic-v2": write_laion,
    "aesthetic-v2.5": tiny_mps.write_v25,
    "mps": tiny_mps.write_mps,
    **TINY_VLM,
    "imagereward": write_imagereward,
    "blip-itm": write_itm,
    "blip-itc": write_itc,
    "head": write_head,
    "profile": write_profile,
    "world-oracle": write_nothing,
    "world-fidelity": write_nothing,
    "world-reward": write_nothing,
    **tiny_text.TINY,
}
