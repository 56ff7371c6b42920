"""The cache against real, tiny pipelines of both families."""

from pathlib import Path

import torch

from diffpref.data.batches import CachedPairs
from diffpref.data.build import build_cache
from diffpref.data.encoder import Encoder
from diffpref.data.plan import CacheSettings
from diffpref.data.readers import open_records
from diffpref.data.transform import to_tensor
from diffpref.data.writers import write_jsonl
from diffpref.draws import Draws
from diffpref.models.load import load_bundle
from diffpref.models.unet import make_denoiser
from diffpref.trajectories.forward import forward
from diffpref.types import Nets
from tests.data.makers import pair, picture
from tests.models.conftest import write_sdxl

ROWS = [pair(n, size=(80, 64)) for n in range(3)]


def test_sdxl_latents_and_micro_conditioning_reach_the_denoiser(tmp_path: Path) -> None:
    bundle = load_bundle(str(write_sdxl(tmp_path / "sdxl")))
    assert isinstance(bundle, Encoder)
    side = bundle.vae_factor * 8
    source = open_records(str(write_jsonl(tmp_path / "data", ROWS)))
    settings = CacheSettings(dtype="fp32", resolution=side, buckets=False)
    cache = build_cache(
        source, bundle, tmp_path / "cache", settings=settings, overlong=bundle.text.overlong
    )
    cache.require(bundle)
    pairs = CachedPairs(cache=cache, seed=0, prompts_per_step=2, time_ids=bundle.family.time_ids)
    batch = pairs.window(0)
    assert batch.latents.shape[2:] == bundle.latent_shape(side, side)
    assert batch.cond.pooled is not None
    net = make_denoiser(bundle.unet, bundle)
    steps = torch.full((2,), 500)
    point = forward(bundle.schedule)(
        Nets(policy=net, reference=None), batch, steps, Draws(0, batch.positions)
    )
    assert point.cond.time_ids is not None
    scale = max(side / 64, side / 80)
    left = (round(80 * scale) - side) // 2
    assert point.cond.time_ids.tolist() == [[64, 80, 0, left, side, side]] * 4
    with torch.no_grad():
        predicted = net(point.x_t, point.t, point.cond)
    assert predicted.shape == point.x_t.shape
    assert bool(predicted.isfinite().all())


def test_cached_latents_are_the_encoded_ones(tmp_path: Path) -> None:
    bundle = load_bundle(str(write_sdxl(tmp_path / "sdxl")))
    side = bundle.vae_factor * 8
    source = open_records(str(write_jsonl(tmp_path / "data", [pair(1, size=(side, side))])))
    settings = CacheSettings(dtype="fp32", resolution=side)
    cache = build_cache(source, bundle, tmp_path / "cache", settings=settings)
    mean, std = cache.posterior(cache.rows[0])
    pixels = to_tensor([picture(10, side, side), picture(11, side, side)])
    with torch.no_grad():
        expected_mean, expected_std = bundle.encode_images(pixels)
    assert torch.equal(mean, expected_mean)
    assert torch.equal(std, expected_std)
    told = cache.conditioning(["prompt 1"])
    with torch.no_grad():
        expected = bundle.encode_text(["prompt 1"])
    assert torch.allclose(told.text, expected.text, atol=1e-6)
