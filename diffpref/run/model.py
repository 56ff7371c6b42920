"""The processes of a run and its model, ready to train."""

from dataclasses import replace
from pathlib import Path

from accelerate import Accelerator

from diffpref.config import RunConfig
from diffpref.config.fits import auto_device
from diffpref.errors import ConfigError
from diffpref.evaluate.opened import Place
from diffpref.evaluate.runs import adapt, base_of_run
from diffpref.models import Bundle, set_checkpointing
from diffpref.models.compute import set_channels_last, set_compiled
from diffpref.models.eight_bit import keep_in_8_bits
from diffpref.models.graphs import Graphs
from diffpref.run.choose import settled
from diffpref.run.fsdp import fsdp_plugin


def make_accelerator(config: RunConfig, folder: Path) -> Accelerator:
    """Return accelerate's view of this process; precision is the denoiser's own business.

    Raises:
        ConfigError: something does not go with the FSDP that was launched.
    """
    device = auto_device(config.model.device)
    return Accelerator(
        cpu=device == "cpu",
        mixed_precision="no",
        fsdp_plugin=fsdp_plugin(config),
        log_with=[name for name in config.log.trackers if name in available_trackers()] or None,
        project_dir=str(folder),
    )


def available_trackers() -> set[str]:
    """Return the trackers that are installed."""
    from accelerate.tracking import get_available_trackers

    return {str(each.value) for each in get_available_trackers()}


def load_model(config: RunConfig, accelerator: Accelerator) -> Bundle:
    """Load the base on this process's device and make it trainable.

    Raises:
        ConfigError: a setting does not fit the model or the number of processes.
    """
    wanted = auto_device(config.model.device)
    several = accelerator.num_processes > 1
    if several and config.model.cuda_graphs:
        what = "recorded passes were not tried with several processes"
        hint = "start one process, or set model.cuda_graphs: false"
        raise ConfigError(what, where="model.cuda_graphs", hint=hint)
    device = str(accelerator.device) if several or wanted == "cuda" else wanted
    bundle = base_of_run(config, Place(device=device), attention=config.model.attention)
    if config.model.storage != "dtype":
        keep_in_8_bits(bundle.unet, config.model.storage)
    adapt(bundle, config)
    if config.model.channels_last:
        set_channels_last(bundle.unet, True)
    keep = settled(config, bundle).model.gradient_checkpointing
    assert keep != "auto"
    set_checkpointing(bundle.unet, keep)
    if config.model.compile_blocks:
        set_compiled(bundle.unet, bundle.device)
    return replace(bundle, graphs=Graphs()) if config.model.cuda_graphs else bundle
