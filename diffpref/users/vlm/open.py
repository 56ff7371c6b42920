"""Opens a folder of a transformers vision-language model, with its processor and its digest."""

from collections.abc import Mapping
from hashlib import file_digest
from pathlib import Path
from types import MappingProxyType
from typing import Any

from diffpref.errors import ConfigError
from diffpref.models.components import load_net
from diffpref.models.load import DTYPES
from diffpref.rewards.state import weight_files
from diffpref.users.vlm.reader import WHERE, VlmReader, template_of
from diffpref.users.vlm.reading import Reading

PICTURE: Mapping[str, str] = MappingProxyType(
    {
        "llava_onevision": "<image>",
        **dict.fromkeys(
            ("qwen2_vl", "qwen2_5_vl", "qwen3_vl"), "<|vision_start|><|image_pad|><|vision_end|>"
        ),
    }
)
"""How a layout writes a picture inside a sentence; others say the token through their processor."""


def load_reader(folder: Path, reading: Reading, *, device: str = "cpu") -> VlmReader:
    """Load a vision-language model from a folder; no code of the folder is run.

    Args:
        folder: with config.json, safetensors weights, tokenizer, chat template and processor.
        reading: what is read of it.
        device: where it runs.

    Raises:
        ConfigError: something is missing, damaged, no vision-language model, or has no such layer.
        UnsafeFileError: pickled weights.
    """
    from transformers import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING as KINDS
    from transformers import AutoConfig

    if not folder.is_dir():
        hint = "give the folder with config.json, model.safetensors and preprocessor_config.json"
        raise ConfigError("there is no such folder", where=f"{WHERE}: {folder}", hint=hint)
    stock: Any = AutoConfig
    config: Any = _opened(stock, folder, "config")
    if type(config) not in KINDS:
        hint = "give a folder of a vision-language model such as LLaVA-OneVision or Qwen2.5-VL"
        raise ConfigError(
            f"a {config.model_type} answers no pictures", where=_at(folder), hint=hint
        )
    text = config.get_text_config()
    _check_layer(reading, int(text.num_hidden_layers))
    kind: Any = KINDS[type(config)]
    net: Any = load_net(kind, folder, DTYPES[reading.dtype], WHERE)
    processor = _processor(folder)
    return VlmReader(
        net=net.eval().requires_grad_(False),
        processor=processor,
        reading=reading,
        layout=str(config.model_type),
        weights=weights_digest(folder),
        picture=PICTURE.get(config.model_type, processor.image_token),
        limit=int(getattr(text, "max_position_embeddings", None) or 2**31),
        device=device,
    )


def weights_digest(folder: Path) -> str:
    """Return the SHA-256 of a folder's weights, its files' own joined."""
    parts: list[str] = []
    for path in weight_files(folder):
        with path.open("rb") as stream:
            parts.append(file_digest(stream, "sha256").hexdigest())
    return "+".join(parts)


def _check_layer(reading: Reading, layers: int) -> None:
    if not -layers - 1 <= reading.layer <= layers:
        what = f"there is no layer {reading.layer}"
        hint = f"choose 0 (embeddings) to {layers}, or -1 (the last) to {-layers - 1}"
        raise ConfigError(what, where="users.vlm.layer", hint=hint)


def _processor(folder: Path) -> Any:
    from transformers import AutoProcessor

    stock: Any = AutoProcessor
    found = _opened(stock, folder, "processor")
    tokenizer = getattr(found, "tokenizer", None)
    if tokenizer is None or getattr(found, "image_token", None) is None:
        hint = "give a folder of a vision-language model such as LLaVA-OneVision or Qwen2.5-VL"
        raise ConfigError("its processor reads no pictures", where=_at(folder), hint=hint)
    tokenizer.padding_side = "right"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if template_of(found).chat_template is None:
        hint = "fetch chat_template.jinja (or chat_template.json) of the chat variant too"
        raise ConfigError("holds no chat template", where=_at(folder), hint=hint)
    return found


def _opened(stock: Any, folder: Path, what: str) -> Any:
    try:
        return stock.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, TypeError, KeyError, ImportError, AttributeError) as error:
        said = str(error).strip().partition("\n")[0]
        hint = "fetch the model's folder again; models that bring their own code are not run"
        raise ConfigError(
            f"holds no usable {what}: {said}", where=_at(folder), hint=hint
        ) from error


def _at(folder: Path) -> str:
    return f"{WHERE}: {folder}"
