"""Stage 1: the autoencoder, 32 px images <-> 8 x 8 x 4 latents."""

from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from diffpref.draws import generator, permutation
from diffpref.world.render import render
from diffpref.world.scene import sample_scenes
from scripts.assets_build.stage import Plan, train

SEED = 11
POOL = 40_000
HELD_OUT = range(10_000_000, 10_001_000)
PLAN = Plan(steps=5000, batch=32, lr=2e-3)
KL_WEIGHT = 1e-4


def make_vae() -> AutoencoderKL:
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(16, 32, 64),
        layers_per_block=1,
        norm_num_groups=8,
        sample_size=32,
        mid_block_add_attention=False,
        scaling_factor=1.0,
    )


def pixels(seed: int, positions: Tensor) -> Tensor:
    """Render uint8 images of random scenes, in chunks."""
    chunks = [render(sample_scenes(seed, part)) for part in positions.split(4000)]
    return torch.cat([(chunk * 255).round().byte() for chunk in chunks])


def build(work: Path) -> AutoencoderKL:
    """Train or resume the autoencoder and set its scaling factor to 1 / latent std."""
    torch.manual_seed(SEED)
    vae = make_vae()
    pool = pixels(SEED, torch.arange(POOL))
    per_epoch = POOL // PLAN.batch

    def loss(step: int) -> Tensor:
        order = permutation(SEED, step // per_epoch, POOL)
        index = order[step % per_epoch * PLAN.batch :][: PLAN.batch]
        images = pool[index].float() / 127.5 - 1
        posterior = vae.encode(images).latent_dist
        noise = torch.randn(posterior.mean.shape, generator=generator(SEED, step, "vae"))
        error = vae.decode(posterior.mean + posterior.std * noise).sample - images
        return (
            error.square().mean()
            + 0.2 * error.abs().mean()
            + KL_WEIGHT * posterior.kl().mean() / 256
        )

    train("vae", {"vae": vae}, loss, PLAN, work)
    vae.eval().requires_grad_(False)
    with torch.no_grad():
        sample = vae.encode(pool[:2000].float() / 127.5 - 1).latent_dist
        scale = 1 / float((sample.mean.var() + sample.std.square().mean()).sqrt())
    vae.register_to_config(scaling_factor=round(scale, 4))
    return vae


@torch.no_grad()
def psnr(vae: AutoencoderKL, images: Tensor) -> Tensor:
    """Return the PSNR in dB of decode(mode(encode)), per image; images uint8."""
    target = images.float() / 255
    decoded = vae.decode(vae.encode(target * 2 - 1).latent_dist.mode()).sample
    error = ((decoded / 2 + 0.5).clamp(0, 1) - target).square().mean(dim=(1, 2, 3))
    return -10 * error.log10()
