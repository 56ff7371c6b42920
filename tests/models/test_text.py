"""Conditioning equals what the stock pipelines compute."""

from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline

from diffpref.models import Bundle, load_bundle

PROMPTS = ["a red cube", "two blue discs", ""]


def test_sd15_prompts_are_encoded_as_the_stock_pipeline_does(tiny: dict[str, Path], fresh) -> None:
    bundle = fresh("sd15")
    pipe = DiffusionPipeline.from_pretrained(tiny["sd15"])
    text, uncond = pipe.encode_prompt(PROMPTS, "cpu", 1, True)
    assert torch.equal(bundle.encode_text(PROMPTS).text, text)
    assert torch.equal(bundle.encode_uncond(len(PROMPTS)).text, uncond)
    assert bundle.encode_text(PROMPTS).pooled is None


@pytest.mark.parametrize("zeros", [True, False])
def test_sdxl_prompts_are_encoded_as_the_stock_pipeline_does(
    tiny: dict[str, Path], tmp_path: Path, zeros: bool
) -> None:
    pipe = DiffusionPipeline.from_pretrained(tiny["sdxl"])
    pipe.register_to_config(force_zeros_for_empty_prompt=zeros)
    pipe.save_pretrained(tmp_path)
    bundle = load_bundle(str(tmp_path))
    text, uncond, pooled, pooled_uncond = pipe.encode_prompt(PROMPTS)
    ours, against = bundle.encode_text(PROMPTS), bundle.encode_uncond(len(PROMPTS))
    assert ours.pooled is not None
    assert against.pooled is not None
    assert torch.equal(ours.text, text)
    assert torch.equal(ours.pooled, pooled)
    assert torch.equal(against.text, uncond)
    assert torch.equal(against.pooled, pooled_uncond)
    assert bool((against.text == 0).all()) == zeros


def test_long_prompts_are_cut_where_the_stock_pipeline_cuts_them(bundle: Bundle) -> None:
    limit = bundle.text.limit
    just = " ".join("r" * (limit - 2))
    cond = bundle.encode_text([just, just + " z z z"])
    assert torch.equal(cond.text[0], cond.text[1])
    assert cond.text.shape[1] == limit


def test_prompts_over_the_token_limit_are_counted(bundle: Bundle) -> None:
    just = " ".join("r" * (bundle.text.limit - 2))
    assert bundle.text.overlong([just, just + " r", "", just + " and more"]) == 2


def test_half_precision_encoders_give_float32_conditioning(folder: Path) -> None:
    bundle = load_bundle(str(folder), dtype="bf16")
    cond = bundle.encode_text(["a red cube"])
    assert {parameter.dtype for parameter in bundle.text.encoders[0].parameters()} == {
        torch.bfloat16
    }
    assert cond.text.dtype == torch.float32
    assert cond.pooled is None or cond.pooled.dtype == torch.float32
