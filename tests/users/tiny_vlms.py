"""Tiny random vision-language models in the folders transformers writes: no download."""

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken
from transformers import (
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    LlavaOnevisionImageProcessor,
    LlavaOnevisionProcessor,
    LlavaOnevisionVideoProcessor,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
)

from tests.rewards.tiny_vlm import qwen_tokenizer, random_net, vlm_config, write_vlm

LAYOUTS = ("llava_onevision", "qwen2_5_vl")
LIMIT = 4096

PICTURES_FIRST = (
    "{% for turn in messages %}<|im_start|>{{ turn.role }} "
    "{% for part in turn.content | selectattr('type', 'equalto', 'image') %}<image>\n{% endfor %}"
    "{% for part in turn.content | selectattr('type', 'equalto', 'text') %}{{ part.text }}"
    "{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""LLaVA-OneVision's template shows the pictures of a turn before its words."""


def write_llava(folder: Path, *, limit: int = LIMIT) -> None:
    """Write a LLaVA-OneVision of a SigLIP tower of 2 layers and a Qwen2 of 3."""
    tokenizer: Any = qwen_tokenizer()
    tokenizer.add_tokens([AddedToken(name, special=True) for name in ("<image>", "<video>")])
    image, video = map(tokenizer.convert_tokens_to_ids, ("<image>", "<video>"))
    pins = [[28, 28], [28, 56], [56, 28]]
    stock: Any = LlavaOnevisionConfig
    config = stock(
        vision_config={
            "model_type": "siglip_vision_model",
            "hidden_size": 16,
            "intermediate_size": 24,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 28,
            "patch_size": 14,
        },
        text_config={
            "model_type": "qwen2",
            "vocab_size": len(tokenizer),
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": limit,
            "bos_token_id": None,
            "eos_token_id": tokenizer.convert_tokens_to_ids("<|im_end|>"),
        },
        image_token_index=image,
        video_token_index=video,
        image_token_id=image,
        video_token_id=video,
        image_grid_pinpoints=pins,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        vision_aspect_ratio="anyres_max_9",
    )
    net = random_net(lambda: LlavaOnevisionForConditionalGeneration(config).float(), by=4)
    processor = LlavaOnevisionProcessor(
        image_processor=LlavaOnevisionImageProcessor(
            size={"height": 28, "width": 28}, image_grid_pinpoints=pins
        ),
        tokenizer=tokenizer,
        video_processor=LlavaOnevisionVideoProcessor(),
        num_image_tokens=4,
        vision_feature_select_strategy="full",
        chat_template=PICTURES_FIRST,
    )
    net.save_pretrained(str(folder))
    processor.save_pretrained(str(folder))


def write_qwen(folder: Path, *, limit: int = LIMIT) -> None:
    """Write a Qwen2.5-VL as transformers saves it now."""
    write_vlm(folder, "qwen2_5_vl")  # the tokenizer, the template and the image processor
    (folder / "model.safetensors").unlink()
    told = {**vlm_config("qwen2_5_vl"), "max_position_embeddings": limit}
    config = Qwen2_5_VLConfig.from_dict(told)
    net = random_net(lambda: Qwen2_5_VLForConditionalGeneration(config).float(), by=4)
    net.tie_weights()
    net.save_pretrained(str(folder))


def write_layout(folder: Path, layout: str, *, limit: int = LIMIT) -> Path:
    """Write a folder of a layout."""
    folder.mkdir(parents=True, exist_ok=True)
    (write_llava if layout == "llava_onevision" else write_qwen)(folder, limit=limit)
    return folder


def picture(seed: int, size: tuple[int, int] = (40, 48)) -> Any:
    """Return a picture of noise, RGB."""
    from PIL import Image

    rng = torch.Generator().manual_seed(seed)
    return Image.fromarray((torch.rand(*size, 3, generator=rng) * 255).byte().numpy())


def told_config(folder: Path) -> dict[str, Any]:
    """Return a folder's config.json."""
    return json.loads((folder / "config.json").read_text())
