"""The model a run folder holds: its exported result, else its best or newest checkpoint."""

from dataclasses import replace
from pathlib import Path

import torch

from diffpref.config import RunConfig, load_config
from diffpref.data.labels import read_table
from diffpref.errors import CheckpointError, UsageError
from diffpref.evaluate.compare import LABELS_BY
from diffpref.evaluate.opened import Opened, Place, facts_of, short_name
from diffpref.evaluate.profiles import USERS_BY, users_by
from diffpref.models import (
    AdapterConfig,
    Bundle,
    load_bundle,
    load_lora,
    load_user_adapter,
    make_adapter,
    merged,
    trainable_parameters,
)
from diffpref.models.lora import Adaptable
from diffpref.models.lora_files import FILE
from diffpref.models.user_files import FILE as USER_ADAPTER
from diffpref.train.manifest import Checkpoint
from diffpref.train.store import Store

CONFIG, PIPELINE, LORA, CHECKPOINTS = "config.yaml", "pipeline", "lora", "checkpoints"
"""What a run folder holds."""


def open_run(folder: Path, place: Place, lora_scale: float) -> Opened:
    """Load a run's result on its base.

    Raises:
        UsageError: there is neither a result nor a checkpoint.
        CheckpointError: the checkpoint belongs to another model.
    """
    config = load_config(folder / CONFIG)
    dtype = place.dtype or config.model.dtype
    if (folder / PIPELINE / "model_index.json").is_file():
        bundle = load_bundle(str(folder / PIPELINE), device=place.device, dtype=dtype)
        return _of_run(folder, bundle, {"result": PIPELINE})
    bundle = base_of_run(config, place)
    for lora in (folder, folder / LORA):
        if (lora / FILE).is_file():
            load_lora(bundle, str(lora / FILE), scale=lora_scale)
            facts = {"result": "LoRA", "lora_scale": f"{lora_scale:g}"}
            return _of_run(folder, bundle, facts)
    if (folder / USER_ADAPTER).is_file():
        load_user_adapter(bundle.unet, folder)
        return _of_run(folder, bundle, {"result": "user adapter", **users_by(folder)})
    found = _checkpoint(folder)
    _restore(bundle, config, found)
    users = found.identity.get("users")
    by = {} if users is None else {USERS_BY: str(users)}
    return _of_run(folder, bundle, {"result": f"checkpoint of step {found.step}", **by})


def base_of_run(
    config: RunConfig, place: Place | None = None, *, attention: str = "sdpa"
) -> Bundle:
    """Load what a run started from, its `init_lora` merged in."""
    place = place or Place()
    bundle = load_bundle(
        config.model.base,
        vae=config.model.vae,
        dtype=place.dtype or config.model.dtype,
        device=place.device,
        attention=attention,
        revision=config.model.revision,
        config=config.model.config,
    )
    if config.model.init_lora is None:
        return bundle
    load_lora(bundle, config.model.init_lora)
    return replace(bundle, unet=merged(bundle.sd_unet))


def adapt(bundle: Adaptable, config: RunConfig) -> None:
    """Make a run's base trainable the way its configuration says."""
    adapter, users = config.adapter, config.users
    make_adapter(
        bundle,
        AdapterConfig(
            kind=adapter.kind,
            rank=adapter.rank,
            alpha=adapter.alpha,
            targets=adapter.targets,
            dora=adapter.dora,
            seed=config.seed,
            **({} if users is None else {"width": users.width, "tokens": users.tokens}),
        ),
    )


def _of_run(folder: Path, bundle: Bundle, facts: dict[str, str]) -> Opened:
    started = load_config(folder / CONFIG).model.init_lora
    lora = {} if started is None else {"init_lora": short_name(started)}
    told = {**facts_of(bundle), "run": folder.name, **lora, **facts, **_labels_of(folder)}
    return Opened(name=folder.resolve().name, bundle=bundle, facts=told, run=folder)


def _labels_of(folder: Path) -> dict[str, str]:
    """Return whose labels a run was trained on, if it was and its table is still there."""
    data = load_config(folder / CONFIG).data
    table = None if data is None else data.labels
    if table is None or not Path(table).is_file():
        return {}
    return {LABELS_BY: ", ".join(read_table(Path(table)).header["scorers"])}


def _checkpoint(folder: Path) -> Checkpoint:
    store = Store(folder / CHECKPOINTS)
    found = (store.best() or store.latest()) if store.folder.is_dir() else None
    if found is None:
        raise UsageError(
            "this run has neither a result nor a checkpoint",
            where=str(folder),
            hint=f"finish it: diffpref train {folder} --resume auto",
        )
    return found


@torch.no_grad()
def _restore(bundle: Bundle, config: RunConfig, found: Checkpoint) -> None:
    """Put a checkpoint's weights, or their average if the run keeps one, onto its base."""
    adapt(bundle, config)
    stored = found.tensors("ema" if config.ema is not None else "trainable")
    for name, value in trainable_parameters(bundle.unet).items():
        if name not in stored or stored[name].shape != value.shape:
            hint = "its config.yaml was changed, or the base is another one"
            what = f"it has no '{name}' of this size"
            raise CheckpointError(what, where=str(found.path), hint=hint)
        value.copy_(stored[name])
    bundle.unet.requires_grad_(False)
