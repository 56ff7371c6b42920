"""Stage 2: the text-to-image base, a small latent UNet and its text encoder, trained together."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from diffpref.draws import Draws, generator, permutation
from diffpref.io import load_weights, save_tensors
from diffpref.world.captions import caption, sample_names, sample_statements
from diffpref.world.oracle import rules
from diffpref.world.scene import sample_scenes
from diffpref.world.splits import split_of
from scripts.assets_build import vae as vae_stage
from scripts.assets_build.stage import Plan, train
from scripts.assets_build.words import END, START, make_tokenizer

SEED = 12
POOL = 60_000
CAPTIONS = 4
WIDTH = 96
LOOKS = Plan(steps=5000, batch=64, lr=1e-3)
"""First the looks: noise levels weighted by min-SNR (2303.09556), which learns colours and shapes
fast and leaves the layout to the noise the sampler starts from."""

LAYOUT = Plan(steps=1500, batch=64, lr=7e-4, warmup=100)
"""Then the layout: errors weighted by 1 / sqrt(snr) (debiased estimation, 2310.08442), since it is
decided at noise levels that min-SNR all but ignores."""

DROP = 0.1
SNR_CAP = 5.0
SNR_FLOOR = 0.005


def make_text(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    start, end = tokenizer.convert_tokens_to_ids([START, END])
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            intermediate_size=4 * WIDTH,
            num_hidden_layers=3,
            num_attention_heads=4,
            max_position_embeddings=tokenizer.model_max_length,
            bos_token_id=start,
            eos_token_id=end,
            pad_token_id=end,
        )
    )


def make_unet() -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        block_out_channels=(48, 96, 96),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=WIDTH,
        attention_head_dim=4,
        norm_num_groups=16,
    )


def make_scheduler() -> DDIMScheduler:
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


def build(work: Path) -> StableDiffusionPipeline:
    """Train or resume the base; the pipeline comes back with averaged weights, in eval mode."""
    vae = vae_stage.build(work)
    torch.manual_seed(SEED)
    tokenizer = make_tokenizer()
    text, unet, scheduler = make_text(tokenizer), make_unet(), make_scheduler()
    mean, std, ids = _pool(work, vae, tokenizer)
    empty = _tokens(tokenizer, [""])[0]
    abar = scheduler.alphas_cumprod
    batch = LOOKS.batch
    per_epoch = POOL // batch

    def loss(step: int, stream: str, weight: Callable[[Tensor], Tensor]) -> Tensor:
        rng = generator(SEED, step, stream)
        order = permutation(SEED, step // per_epoch, POOL)
        index = order[step % per_epoch * batch :][:batch]
        x_0 = mean[index] + std[index] * torch.randn(mean[index].shape, generator=rng)
        noise = torch.randn(x_0.shape, generator=rng)
        t = torch.randint(0, 1000, (len(index),), generator=rng)
        words = ids[index, torch.randint(0, CAPTIONS, (len(index),), generator=rng)].long()
        drop = torch.rand(len(index), generator=rng) < DROP
        words = torch.where(drop[:, None], empty, words)
        signal = abar[t][:, None, None, None]
        x_t = signal.sqrt() * x_0 + (1 - signal).sqrt() * noise
        predicted = unet(x_t, t, text(words).last_hidden_state).sample
        error = (predicted - noise).square().mean(dim=(1, 2, 3))
        return (error * weight(abar[t] / (1 - abar[t]))).mean()

    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=text,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    prompts = held_out_prompts(128)
    nets = {"unet": unet, "text": text}
    for name, plan, weight in (
        ("base", LOOKS, lambda snr: snr.clamp(max=SNR_CAP) / snr),
        ("base-layout", LAYOUT, lambda snr: snr.clamp(min=SNR_FLOOR).rsqrt()),
    ):
        train(
            name,
            nets,
            partial(loss, stream=name, weight=weight),
            plan,
            work,
            probe=lambda: probe(pipeline, prompts),
        )
    for net in (unet, text):
        net.eval().requires_grad_(False)
    return pipeline


def held_out_prompts(count: int) -> list[str]:
    """Return distinct captions of the validation split: no caption of theirs was trained on."""
    statements = sample_statements(SEED, torch.arange(20_000_000, 20_000_000 + 20 * count))
    captions = dict.fromkeys(caption(stated) for stated in statements)
    return [text for text in captions if split_of(text) == "validation"][:count]


def probe(pipeline: StableDiffusionPipeline, prompts: list[str]) -> dict[str, float]:
    images = sample(pipeline, prompts, seed=0, guidance=3.0, steps=20)
    return {name: float(column.nanmean()) for name, column in rules(images, tuple(prompts)).items()}


@torch.no_grad()
def sample(
    pipeline: StableDiffusionPipeline, prompts: list[str], *, seed: int, guidance: float, steps: int
) -> Tensor:
    """Sample one image per prompt in [0, 1]; noise is a function of (seed, prompt index)."""
    noise = Draws(seed, torch.arange(len(prompts))).normal("sample", (4, 8, 8))
    images = [
        pipeline(
            part,
            latents=noise[start : start + len(part)],
            guidance_scale=guidance,
            num_inference_steps=steps,
            height=32,
            width=32,
            output_type="pt",
        ).images
        for start in range(0, len(prompts), 128)
        for part in [prompts[start : start + 128]]
    ]
    return torch.cat(images)


def _pool(
    work: Path, vae: AutoencoderKL, tokenizer: CLIPTokenizer
) -> tuple[Tensor, Tensor, Tensor]:
    """Return latents' mean and std, scaled, and token ids of CAPTIONS captions per scene."""
    path = work / "pool.safetensors"
    if not path.exists():
        positions = torch.arange(POOL)
        images = vae_stage.pixels(SEED, positions)
        latents = [vae.encode(part.float() / 127.5 - 1).latent_dist for part in images.split(500)]
        scale = vae.config.scaling_factor
        ids = [_tokens(tokenizer, _captions(positions, which)) for which in range(CAPTIONS)]
        pool = {
            "mean": torch.cat([latent.mean for latent in latents]) * scale,
            "std": torch.cat([latent.std for latent in latents]) * scale,
            "ids": torch.stack(ids, dim=1).short(),
        }
        save_tensors(path, pool)
    pool = load_weights(path)
    return pool["mean"], pool["std"], pool["ids"]


def _captions(positions: Tensor, which: int) -> list[str]:
    """Return a true caption of each scene from the training split, or "" after eight misses."""
    scenes = sample_scenes(SEED, positions)
    words = [scenes.words(row) for row in range(len(positions))]
    found = [""] * len(words)
    for attempt in range(8):
        open_rows = [row for row, text in enumerate(found) if not text]
        if not open_rows:
            break
        drawn = sample_names(1000 + 10 * which + attempt, positions[open_rows])
        for row, names in zip(open_rows, drawn, strict=True):
            text = caption({name: value for name, value in words[row].items() if name in names})
            found[row] = text if split_of(text) == "train" else ""
    return found


def _tokens(tokenizer: CLIPTokenizer, texts: list[str]) -> Tensor:
    return tokenizer(
        texts,
        padding="max_length",
        truncation=True,
        max_length=tokenizer.model_max_length,
        return_tensors="pt",
    ).input_ids
