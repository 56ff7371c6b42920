"""Memory is followed on shapes: against counts by hand, real tensors and the design's table."""

from typing import Any

import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor2_0
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import nn

from diffpref.models.checkpointing import Keep, recomputing, set_checkpointing
from diffpref.models.family import SD15
from diffpref.models.live import AsOnCuda, Live
from diffpref.models.shapes import shapes_of
from diffpref.run.memory import Copies, footprint
from diffpref.run.peak import Trained, Worked
from diffpref.types import Conditioning

GIB = 2**30
FLOAT = 4


def test_every_storage_counts_once_until_it_is_let_go() -> None:
    held = torch.empty(10)
    live = Live([held, held.view(2, 5)])
    assert live.now == 10 * FLOAT
    with live:
        a = torch.empty(100) + 1  # two storages, one let go
        b = a.view(10, 10).t()
        assert live.now == 110 * FLOAT
        del a
        assert live.now == 110 * FLOAT, "a view holds it"
        del b
        assert live.now == 10 * FLOAT
        held.add_(1)
    assert live.now == 10 * FLOAT
    assert live.peak == 210 * FLOAT


def test_a_linear_layers_step_holds_what_it_must() -> None:
    """Input (given), output, its gradient and the weight's gradient; no more."""
    layer = nn.Linear(8, 6, bias=False)
    x = torch.randn(3, 8)
    live = Live([*layer.parameters(), x])
    before = live.now
    with live:
        out = layer(x)
        assert live.now - before == out.numel() * FLOAT
        torch.autograd.backward(out, torch.ones_like(out))
        assert layer.weight.grad is not None
        assert live.now - before == (out.numel() + layer.weight.numel()) * FLOAT


def tiny() -> UNet2DConditionModel:
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=32,
        attention_head_dim=(4, 8),  # pyright: ignore[reportArgumentType]  # heads 8 wide: no padding
        norm_num_groups=8,
    )
    unet.set_attn_processor(AttnProcessor2_0())
    return unet


@pytest.mark.parametrize("keep", [False, "keep_convs", True])
def test_shapes_hold_as_much_as_numbers_do(keep: Keep) -> None:
    """The same pass, followed on real tensors, where attention runs by the CPU's kernel."""
    unet, cond = tiny(), Conditioning(text=torch.randn(1, 7, 32))
    model = Trained(unet=unet, family=SD15, dtype=torch.float32, rest=())
    work = Worked(rows=3, latent=(4, 16, 16), keep=keep, accumulates=False)
    told = footprint(model, cond, work, copies=Copies(), optimizer_bytes=8.0)
    set_checkpointing(unet, keep)
    unet.train()
    text = cond.text.expand(3, -1, -1).contiguous()
    x_t, t = torch.randn(3, 4, 16, 16), torch.zeros(3, dtype=torch.long)
    live = Live(unet.parameters())
    held = live.now
    with live:
        out = unet(x_t, t, encoder_hidden_states=text, return_dict=False)[0]
        torch.autograd.backward(out.square().mean(dim=(1, 2, 3)).sum())
    assert told.gradients + told.activations == pytest.approx(live.peak - held, rel=0.03)
    assert told.weights == sum(4 * value.numel() for value in unet.parameters())
    assert told.optimizer == 2 * told.weights


# Activations that wait after the forward pass of one pair, GiB: PERFORMANCE.md, section 2.2.
TABLE: dict[tuple[str, Keep], float] = {
    ("stable-diffusion-v1-5/stable-diffusion-v1-5", False): 1.74,
    ("stable-diffusion-v1-5/stable-diffusion-v1-5", "keep_matmuls"): 1.15,
    ("stable-diffusion-v1-5/stable-diffusion-v1-5", "keep_convs"): 0.50,
    ("stable-diffusion-v1-5/stable-diffusion-v1-5", True): 0.29,
    ("stabilityai/stable-diffusion-xl-base-1.0", False): 12.83,
    ("stabilityai/stable-diffusion-xl-base-1.0", "keep_convs"): 2.37,
}


@pytest.mark.parametrize(("base", "keep"), TABLE)
def test_activations_agree_with_the_independent_count(base: str, keep: Keep) -> None:
    shapes = shapes_of(base, dtype="bf16")
    unet: Any = shapes.unet.requires_grad_(True).train()
    unet.set_attn_processor(AttnProcessor2_0())
    if keep is not False:
        unet.enable_gradient_checkpointing(recomputing(keep, lambda: AsOnCuda(None)))
    told = shapes.told().repeat_rows(2)
    live = Live(unet.parameters())
    held = live.now
    side = shapes.resolution
    with AsOnCuda(None), live:
        out = unet(
            torch.empty(2, *shapes.latent_shape(side, side), device="meta", dtype=torch.bfloat16),
            torch.zeros(2, dtype=torch.long, device="meta"),
            encoder_hidden_states=told.text.bfloat16(),
            added_cond_kwargs=shapes.family.added(told),
        )
        kept = live.now - held
    assert out.sample.shape[0] == 2
    assert kept / GIB == pytest.approx(TABLE[base, keep], abs=0.011)
