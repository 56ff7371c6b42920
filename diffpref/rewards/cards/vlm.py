"""Cards of the scorers that ask a language model about a picture."""

from dataclasses import replace

from diffpref.rewards.cards.card import Card, Part

HPSV3_INSTRUCTION = "f6ee57479d4e9eee76b49c00dc962e1e696a5a2b3cc32cebd9b1fa76fe27502c"
"""SHA-256 of the published rubric: 2,590 characters with `{text_prompt}` and `<|Reward|>`."""

HPSV3_ORIGIN = (
    "GitHub MizzenAI/HPSv3, hpsv3/dataset/data_collator_qwen.py: INSTRUCTION followed by "
    "prompt_with_special_token, written to instruction.txt"
)

_PARITY = "tiny models equal to transformers', one by one; key layout at full size"

_WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)

HPSV3 = Card(
    name="hpsv3",
    factory="diffpref.rewards.hpsv3:load_hpsv3",
    kind="fusion",
    about="human preference score v3: a 7B vision-language model with a reward head",
    scale="mean of the score's Gaussian; SD 2 about 0, SDXL 8, FLUX 10; a difference of scores is "
    "about the log odds of being preferred",
    range_hint=(-5.0, 15.0),
    licence="Apache-2.0 (weights and Qwen2-VL), MIT (code)",
    differentiable=True,
    parts=(
        Part(
            files=("HPSv3.safetensors",),
            repo="MizzenAI/HPSv3",
            origin="hub MizzenAI/HPSv3",
            gigabytes=16.6,
            licence="Apache-2.0",
            parameters=8_292_152_882,
        ),
        Part(
            name="base",
            files=("tokenizer.json", "vocab.json"),
            repo="Qwen/Qwen2-VL-7B-Instruct",
            origin="hub Qwen/Qwen2-VL-7B-Instruct (config and tokenizer, no weights)",
            gigabytes=0.01,
            licence="Apache-2.0",
            folder=True,
        ),
        Part(
            name="instruction",
            files=("instruction.txt",),
            origin=HPSV3_ORIGIN,
            gigabytes=0.0,
            licence="MIT",
        ),
    ),
    source="Ma et al., 2508.03789; MizzenAI/HPSv3",
    parity=_PARITY,
)


def _flan(size: str, gigabytes: float) -> Part:
    return Part(
        name=size,
        files=_WEIGHTS,
        repo=f"zhiqiulin/clip-flant5-{size}",
        origin=f"hub zhiqiulin/clip-flant5-{size}",
        gigabytes=gigabytes,
        licence="Apache-2.0",
        folder=True,
        variant=size,
    )


def _for(variant: str) -> tuple[Part, Part]:
    vision = Part(
        name="vision",
        files=_WEIGHTS,
        repo="openai/clip-vit-large-patch14-336",
        origin="hub openai/clip-vit-large-patch14-336",
        gigabytes=1.7,
        licence="MIT",
    )
    words = Part(
        name="tokenizer",
        files=("tokenizer.json", "spiece.model"),
        repo=f"google/flan-t5-{variant}",
        origin=f"hub google/flan-t5-{variant} (tokenizer, no weights)",
        gigabytes=0.003,
        licence="Apache-2.0",
        folder=True,
    )
    return replace(vision, variant=variant), replace(words, variant=variant)


VQASCORE = Card(
    name="vqascore",
    factory="diffpref.rewards.vqascore:load_vqascore",
    kind="fusion",
    about="how sure a vision-language model is that the picture shows the prompt",
    scale="probability of answering yes, 0 to 1; xxl and xl: square root of P(Yes) P(end after "
    "Yes); vlm: P(Yes) in any spelling. The temperature is not calibrated",
    range_hint=(0.0, 1.0),
    licence="Apache-2.0, MIT (CLIP); vlm: of the model used",
    differentiable=True,
    temperature=0.1,
    variants=("xxl", "xl", "vlm"),
    parts=(
        _flan("xxl", 46.0),
        *_for("xxl"),
        _flan("xl", 13.0),
        *_for("xl"),
        Part(
            name="vlm",
            files=_WEIGHTS[:2],
            repo="Qwen/Qwen2.5-VL-7B-Instruct",
            origin="hub Qwen/Qwen2.5-VL-7B-Instruct, or any folder of Qwen2-VL, 2.5-VL or 3-VL",
            gigabytes=16.6,
            licence="Apache-2.0",
            folder=True,
            variant="vlm",
        ),
    ),
    source="Lin et al., 2404.01291; linzhiqiu/t2v_metrics",
    parity=_PARITY,
)

CARDS = (HPSV3, VQASCORE)
