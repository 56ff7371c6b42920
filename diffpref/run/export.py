"""The result of a run in the layouts stock diffusers loads."""

from pathlib import Path

from diffpref.models import Bundle, has_adapters, save_lora, save_pipeline

PIPELINE = "pipeline"
"""Folder inside a run that holds a fully fine-tuned pipeline."""


def export(folder: Path, bundle: Bundle) -> Path:
    """Write the trained weights into the run folder.

    A LoRA becomes `pytorch_lora_weights.safetensors` in the folder itself, so that
    `pipe.load_lora_weights(folder)` reads it; a full fine-tune becomes `pipeline/`, which
    `from_pretrained` reads.

    Returns:
        The file or folder written.
    """
    if has_adapters(bundle.unet):
        return save_lora(folder, bundle)
    target = folder / PIPELINE
    save_pipeline(target, bundle)
    return target
