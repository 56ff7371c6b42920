"""The result of a run in the layouts stock diffusers loads."""

from pathlib import Path

from diffpref.data.support import UserEncoder
from diffpref.data.user_encoders import MeanDifference
from diffpref.models import (
    Bundle,
    has_adapters,
    save_lora,
    save_pipeline,
    save_user_adapter,
    user_adapter_of,
)
from diffpref.users.encoder import BtEncoder
from diffpref.users.prior_file import FILE as PRIOR
from diffpref.users.prior_file import save_prior
from diffpref.users.vlm.encoder import VlmEncoder
from diffpref.users.vlm.files import FILE as VLM
from diffpref.users.vlm.files import save_encoder_file

PIPELINE = "pipeline"
"""Folder inside a run that holds a fully fine-tuned pipeline."""


def export(folder: Path, bundle: Bundle, encoder: UserEncoder | None = None) -> Path:
    """Write the trained weights into the run folder.

    A LoRA becomes `pytorch_lora_weights.safetensors` in the folder itself, so that
    `pipe.load_lora_weights(folder)` reads it; a full fine-tune becomes `pipeline/`, which
    `from_pretrained` reads. A user adapter becomes `user_adapter.safetensors`, for
    `pipe.load_ip_adapter`, beside the encoder that described its users, or its population.

    Args:
        folder: the run folder.
        bundle: the model.
        encoder: of the users, in a run with users.

    Returns:
        The file or folder written.
    """
    if user_adapter_of(bundle.unet) is not None:
        about = {"family": bundle.family.name, "base": bundle.fingerprint}
        if encoder is not None:
            about["encoder"] = encoder.fingerprint
        if isinstance(encoder, MeanDifference):
            encoder.save(folder)
        if isinstance(encoder, VlmEncoder):
            save_encoder_file(folder / VLM, encoder)
        if isinstance(encoder, BtEncoder):
            about |= {"prior": encoder.prior.name, "prior_sha256": encoder.prior.sha256}
            save_prior(folder / PRIOR, encoder.prior)
        return save_user_adapter(folder, bundle.unet, about)
    if has_adapters(bundle.unet):
        return save_lora(folder, bundle)
    target = folder / PIPELINE
    save_pipeline(target, bundle)
    return target
