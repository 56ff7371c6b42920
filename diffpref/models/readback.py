"""Whether what was written is what is in memory: the network's own answer, before and after."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from diffpref.draws import generator
from diffpref.models.bundle import Bundle
from diffpref.models.lora_files import load_lora
from diffpref.models.lora_layers import networks
from diffpref.models.quiet import quiet
from diffpref.models.unet import make_denoiser
from diffpref.models.user_adapter import user_adapter_of

LEVELS = (999, 500, 10)
SIDE = 16
"""Latents of the probe: large enough for every block of the known families."""


@torch.no_grad()
def probe(bundle: Bundle) -> Float[Tensor, "n c h w"]:
    """Return what the network predicts for fixed noise at three levels, and for one fixed user.

    The text is the empty prompt, encoded: a text encoder's LoRA is heard.
    """
    rng = generator(0, 0, "export/probe")
    channels = int(bundle.unet.config["in_channels"])
    x = torch.randn(len(LEVELS), channels, SIDE, SIDE, generator=rng)
    cond = bundle.encode_text([""] * len(LEVELS))
    size = torch.full((len(LEVELS), 2), bundle.resolution)
    cond = replace(cond, time_ids=bundle.family.time_ids(size, torch.zeros_like(size), size))
    adapter = user_adapter_of(bundle.unet)
    if adapter is not None:
        user = torch.randn(len(LEVELS), 1, adapter.width, generator=rng)
        cond = replace(cond, user=user, gate=torch.ones(len(LEVELS)))
    steps = torch.tensor([min(level, len(bundle.schedule) - 1) for level in LEVELS])
    return make_denoiser(bundle.unet, bundle)(x, steps, cond).cpu()


def reload_lora(bundle: Bundle, path: Path) -> None:
    """Take the bundle's LoRA out and put the one of a file or folder in, by stock code."""
    for _, net in networks(bundle):
        without_lora(net)
    load_lora(bundle, str(path))


def reload_peft(bundle: Bundle, folder: Path) -> None:
    """Take the bundle's LoRA out and let peft open the folders that were written."""
    for part, net in networks(bundle):
        without_lora(net)
        if (folder / part).is_dir():
            with quiet():
                wrapped: Any = net
                PeftModel.from_pretrained(wrapped, str(folder / part)).eval()


def without_lora(net: nn.Module) -> None:
    """Take a LoRA out of a network; its own weights stay as they were."""
    for path, module in list(net.named_modules()):
        if isinstance(module, LoraLayer):
            layer: Any = module
            parent, _, name = path.rpartition(".")
            setattr(net.get_submodule(parent), name, layer.get_base_layer())
    stock: Any = net
    if "peft_config" in vars(net):
        del stock.peft_config
    stock._hf_peft_config_loaded = False
