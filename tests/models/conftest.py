"""Tiny random SD1.5 and SDXL pipelines in the stock folder layout, made once per session."""

import os
import warnings
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DiffusionPipeline,
    EulerDiscreteScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from torch import nn
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
)

from diffpref.models import Bundle, load_bundle

PROMPTS = ["a red cube", "two blue discs", ""]
SEED = 7
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def make_tokenizer(limit: int) -> CLIPTokenizer:
    """A CLIP tokenizer of single characters and two merges."""
    marks = [chr(code) for code in range(33, 127)]
    words = [*marks, *(f"{mark}</w>" for mark in marks), "re", "red</w>"]
    words += ["<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(
        vocab={word: index for index, word in enumerate(words)},
        merges=[("r", "e"), ("re", "d</w>")],
        model_max_length=limit,
    )


def make_text(
    tokenizer: CLIPTokenizer, *, layers: int, width: int = 16, projected: bool = False
) -> torch.nn.Module:
    end = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=32,
        num_hidden_layers=layers,
        num_attention_heads=2,
        max_position_embeddings=tokenizer.model_max_length,
        projection_dim=width,
        bos_token_id=tokenizer.convert_tokens_to_ids("<|startoftext|>"),
        eos_token_id=end,
        pad_token_id=end,
    )
    return (CLIPTextModelWithProjection if projected else CLIPTextModel)(config)


def make_unet(sdxl: bool) -> UNet2DConditionModel:
    extra = {
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 4,
        "projection_class_embeddings_input_dim": 6 * 4 + 24,
        "transformer_layers_per_block": 1,
        "use_linear_projection": True,
    }
    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=4,
        attention_head_dim=4,
        cross_attention_dim=16 + 24 if sdxl else 16,
        **(extra if sdxl else {}),
    )


def make_vae() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        norm_num_groups=4,
        sample_size=32,
        latent_channels=4,
    )


def write_sd15(folder: Path, *, prediction: str = "epsilon") -> Path:
    torch.manual_seed(SEED)
    tokenizer = make_tokenizer(24)
    StableDiffusionPipeline(
        vae=make_vae(),
        text_encoder=make_text(tokenizer, layers=2),
        tokenizer=tokenizer,
        unet=make_unet(sdxl=False),
        scheduler=DDIMScheduler(
            **BETAS,
            clip_sample=False,
            set_alpha_to_one=False,
            steps_offset=1,
            prediction_type=prediction,
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
    return folder


def write_sdxl(folder: Path) -> Path:
    torch.manual_seed(SEED)
    tokenizer = make_tokenizer(77)
    StableDiffusionXLPipeline(
        vae=make_vae(),
        text_encoder=make_text(tokenizer, layers=2),
        text_encoder_2=make_text(tokenizer, layers=3, width=24, projected=True),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=make_unet(sdxl=True),
        scheduler=EulerDiscreteScheduler(
            **BETAS,
            steps_offset=1,
            timestep_spacing="leading",
        ),
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of tiny pipelines: sd15 reads 24 tokens, sdxl 77; v is sd15 predicting v."""
    root = tmp_path_factory.mktemp("tiny")
    return {
        "sd15": write_sd15(root / "sd15"),
        "v": write_sd15(root / "v", prediction="v_prediction"),
        "sdxl": write_sdxl(root / "sdxl"),
    }


@pytest.fixture(params=["sd15", "sdxl"])
def folder(request: pytest.FixtureRequest, tiny: dict[str, Path]) -> Path:
    return tiny[request.param]


@pytest.fixture(scope="session")
def loaded(tiny: dict[str, Path]) -> dict[str, Bundle]:
    return {name: load_bundle(str(path)) for name, path in tiny.items()}


@pytest.fixture
def fresh(loaded: dict[str, Bundle]) -> Callable[[str], Bundle]:
    """A bundle of its own for whoever asks, without loading it again."""

    def copied(name: str) -> Bundle:
        kept = loaded[name]
        text = replace(kept.text, encoders=deepcopy(kept.text.encoders))
        return replace(kept, unet=deepcopy(kept.unet), vae=deepcopy(kept.vae), text=text)

    return copied


@pytest.fixture
def bundle(folder: Path, fresh: Callable[[str], Bundle]) -> Bundle:
    return fresh(folder.name)


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test in this folder may reach a hub."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setitem(os.environ, "HF_HUB_OFFLINE", "1")


@pytest.fixture
def sample() -> Callable[..., torch.Tensor]:
    """Two images of a stock pipeline from fixed noise."""

    def images(pipe: DiffusionPipeline) -> torch.Tensor:
        pipe.set_progress_bar_config(disable=True)
        # On some processors torch takes another convolution when the weights require gradients,
        # also without a graph; ours are frozen, so the stock ones are frozen for the comparison.
        parts = [part for part in pipe.components.values() if isinstance(part, nn.Module)]
        trained = [value for part in parts for value in part.parameters() if value.requires_grad]
        for value in trained:
            value.requires_grad_(False)
        try:
            return _drawn(pipe)
        finally:
            for value in trained:
                value.requires_grad_(True)

    return images


def _drawn(pipe: DiffusionPipeline) -> torch.Tensor:
    # Euler's stock scheduler turns tensors into arrays in a way numpy 2 will not allow.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
        return pipe(
            PROMPTS[:2],
            num_inference_steps=2,
            generator=torch.Generator().manual_seed(SEED),
            output_type="pt",
        ).images
