"""Sampling: noise as a function of (seed, position), and nothing else that matters."""

import itertools
import re
from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline

from diffpref.draws import Draws
from diffpref.errors import UsageError
from diffpref.models import Bundle, load_bundle
from diffpref.models.lora import AdapterConfig, adapters_off, make_adapter, trainable_parameters
from diffpref.models.sample import sample, starting_noise
from diffpref.models.sample_settings import SAMPLERS, SampleSettings

FEW = SampleSettings(steps=2, guidance=3.0)
WORDS = ["a red cube", "two blue discs", "a disc", "a cube"]


@pytest.fixture(scope="module")
def sd15(tiny: dict[str, Path]) -> Bundle:
    """One bundle for every test that leaves it as it is."""
    return load_bundle(str(tiny["sd15"]))


def test_images_are_unit_floats_of_the_models_own_size(bundle: Bundle) -> None:
    images = sample(bundle, WORDS[:2], settings=FEW)
    assert (images.shape, images.dtype) == ((2, 3, 32, 32), torch.float32)
    assert float(images.min()) >= 0
    assert float(images.max()) <= 1
    assert float(images.std()) > 0.01


def test_the_noise_of_an_image_depends_on_its_seed_and_position_only() -> None:
    whole = starting_noise([5, 5, 6], torch.tensor([0, 7, 7]), (4, 8, 8))
    assert torch.equal(whole[1:2], starting_noise([5], torch.tensor([7]), (4, 8, 8)))
    assert torch.equal(whole[:2], Draws(5, torch.tensor([0, 7])).normal("sample", (4, 8, 8)))
    assert not torch.equal(whole[1], whole[2])


def test_the_batch_changes_only_rounding(bundle: Bundle) -> None:
    whole = sample(bundle, WORDS, settings=FEW)
    split = sample(bundle, WORDS, settings=SampleSettings(steps=2, guidance=3.0, batch=3))
    alone = sample(bundle, WORDS[3:], positions=[3], settings=FEW)
    assert torch.allclose(whole, split, atol=1e-5)
    assert torch.allclose(whole[3:], alone, atol=1e-5)


def test_one_seed_for_all_is_the_same_seed_for_each(sd15: Bundle) -> None:
    same = sample(sd15, WORDS[:2], seed=[3, 3], settings=FEW)
    assert torch.equal(sample(sd15, WORDS[:2], seed=3, settings=FEW), same)
    assert not torch.allclose(sample(sd15, WORDS[:2], seed=[3, 4], settings=FEW)[1], same[1])


def test_the_image_is_the_stock_pipelines_image(tiny: dict[str, Path], sd15: Bundle) -> None:
    pipe = StableDiffusionPipeline.from_pretrained(
        str(tiny["sd15"]), safety_checker=None, local_files_only=True
    )
    pipe.set_progress_bar_config(disable=True)
    assert isinstance(pipe.scheduler, DDIMScheduler)
    theirs = pipe(
        WORDS[:2],
        latents=starting_noise([1, 1], torch.arange(2), (4, 8, 8)),
        num_inference_steps=2,
        guidance_scale=3.0,
        height=32,
        width=32,
        output_type="pt",
    ).images
    assert torch.allclose(sample(sd15, WORDS[:2], seed=1, settings=FEW), theirs, atol=1e-5)


def test_every_sampler_is_deterministic_and_its_own(sd15: Bundle) -> None:
    found: list[torch.Tensor] = []
    for sampler in SAMPLERS:
        settings = SampleSettings(steps=3, guidance=3.0, sampler=sampler)
        found.append(sample(sd15, WORDS[:1], settings=settings))
        assert torch.equal(found[-1], sample(sd15, WORDS[:1], settings=settings))
    for one, other in itertools.combinations(found, 2):
        assert not torch.allclose(one, other, atol=1e-4)


def test_guidance_defaults_to_the_familys_and_the_negative_prompt_counts(bundle: Bundle) -> None:
    own = sample(bundle, WORDS[:1], settings=SampleSettings(steps=2))
    said = SampleSettings(steps=2, guidance=bundle.family.guidance)
    assert torch.equal(own, sample(bundle, WORDS[:1], settings=said))
    other = sample(bundle, WORDS[:1], settings=SampleSettings(steps=2, negative="a cube"))
    assert not torch.allclose(own, other, atol=1e-6)


def test_a_model_that_is_training_in_mixed_precision_can_be_sampled(tiny: dict[str, Path]) -> None:
    bundle = load_bundle(str(tiny["sd15"]), dtype="bf16")
    before = sample(bundle, WORDS[:1], settings=FEW)
    make_adapter(bundle, AdapterConfig(kind="full"))
    images = sample(bundle, WORDS[:1], settings=FEW)
    assert torch.allclose(images, before, atol=0.05)
    assert all(value.requires_grad for value in trainable_parameters(bundle.unet).values())


def test_with_adapters_off_the_base_is_sampled(tiny: dict[str, Path]) -> None:
    bundle = load_bundle(str(tiny["sd15"]))
    base = sample(bundle, WORDS[:1], settings=FEW)
    make_adapter(bundle, AdapterConfig(rank=2))
    with torch.no_grad():
        for value in trainable_parameters(bundle.unet).values():
            value.add_(0.3)
    moved = sample(bundle, WORDS[:1], settings=FEW)
    with adapters_off(bundle.unet):
        assert torch.allclose(sample(bundle, WORDS[:1], settings=FEW), base, atol=1e-6)
    assert not torch.allclose(moved, base, atol=1e-3)


def test_progress_counts_images_in_parts_of_steps(sd15: Bundle) -> None:
    seen: list[tuple[int, int | None]] = []
    settings = SampleSettings(steps=2, guidance=3.0, batch=2)
    sample(
        sd15, WORDS, settings=settings, on_progress=lambda done, total: seen.append((done, total))
    )
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_another_size_can_be_asked_for(sd15: Bundle) -> None:
    images = sample(sd15, WORDS[:1], settings=SampleSettings(steps=1, height=16, width=24))
    assert images.shape == (1, 3, 16, 24)


def test_no_prompts_give_no_images(sd15: Bundle) -> None:
    assert sample(sd15, [], settings=FEW).shape == (0, 3, 32, 32)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (SampleSettings(sampler="dmp++"), r"did you mean 'dpm\+\+'"),
        (SampleSettings(steps=0), "0 steps"),
        (SampleSettings(steps=1001), "1001 steps"),
        (SampleSettings(height=30), "the nearest multiple of 8 is 32"),
    ],
)
def test_impossible_settings_are_refused(
    settings: SampleSettings, message: str, sd15: Bundle
) -> None:
    with pytest.raises(UsageError) as caught:
        sample(sd15, WORDS[:1], settings=settings)
    assert re.search(message, str(caught.value))
