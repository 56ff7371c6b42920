"""The model a run folder holds: its exported result, else its best or newest checkpoint."""

from dataclasses import replace
from pathlib import Path
from typing import Any

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
    fingerprint,
    load_bundle,
    load_lora,
    load_user_adapter,
    make_adapter,
    merged,
    merged_encoder,
    trainable_parameters,
)
from diffpref.models.lora import Adaptable
from diffpref.models.lora_files import FILE
from diffpref.models.user_files import FILE as USER_ADAPTER
from diffpref.train.manifest import Checkpoint
from diffpref.train.precision import PRECISIONS
from diffpref.train.store import Store

CONFIG, PIPELINE, LORA, CHECKPOINTS = "config.yaml", "pipeline", "lora", "checkpoints"
"""What a run folder holds."""

STEP = "step"
"""Fact of a model that is a checkpoint of its run rather than its result."""


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
    _restore(bundle, config, found, average=config.ema is not None)
    users = found.identity.get("users")
    by = {} if users is None else {USERS_BY: str(users)}
    return _of_run(folder, bundle, {"result": f"checkpoint of step {found.step}", **by})


def open_weights(folder: Path, place: Place, *, average: bool, checkpoint: str) -> Opened:
    """Load a run's weights as one of its checkpoints holds them.

    Args:
        folder: of the run.
        place: device and precision.
        average: the running average the run keeps, instead of the weights it trains.
        checkpoint: newest, best, or the number of a step.

    Raises:
        UsageError: there is no such checkpoint, or the run keeps no average.
        CheckpointError: it is damaged, or of another model.
    """
    config = load_config(folder / CONFIG)
    if average and config.ema is None:
        hint = "choose --weights last, or train with ema: {decay: 0.999}"
        raise UsageError("this run keeps no average", where=str(folder), hint=hint)
    found = _chosen(folder, checkpoint)
    bundle = base_of_run(config, place)
    _restore(bundle, config, found, average=average)
    kind = "average" if average else "weights"
    users = found.identity.get("users")
    by = {} if users is None else {USERS_BY: str(users)}
    facts = {"result": f"{kind} of step {found.step}", STEP: str(found.step), **by}
    return _of_run(folder, bundle, facts)


def _chosen(folder: Path, checkpoint: str) -> Checkpoint:
    store = Store(folder / CHECKPOINTS)
    steps = [path.name for path in sorted(store.folder.glob("step-*"))]
    if checkpoint.isdecimal():
        name = f"step-{int(checkpoint):08d}"
        if name in steps:
            return store.open(store.folder / name)
    elif checkpoint in {"newest", "best"} and steps:
        found = store.best() if checkpoint == "best" else store.latest()
        if found is not None:
            return found
    known = ", ".join(str(int(name.removeprefix("step-"))) for name in steps) or "none"
    hint = f"choose newest, best (with save.best_by), or a step; kept: {known}"
    raise UsageError("there is no such checkpoint", where=f"--checkpoint {checkpoint}", hint=hint)


def base_of_run(
    config: RunConfig, place: Place | None = None, *, attention: str = "sdpa"
) -> Bundle:
    """Load what a run started from, its `init_lora` merged in: into the text encoders too."""
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
    return replace(bundle, unet=merged(bundle.sd_unet), **_retold(bundle))


def _retold(bundle: Bundle) -> dict[str, Any]:
    """Return the text half with its LoRA folded in, under a hash of its own for the cache."""
    encoders = tuple(merged_encoder(each) for each in bundle.text.encoders)
    if encoders == bundle.text.encoders:
        return {}
    prints = {**bundle.fingerprints, "text": fingerprint(encoders)}
    return {"text": replace(bundle.text, encoders=encoders), "fingerprints": prints}


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
            narrow=PRECISIONS[adapter.precision].narrow,
            silent=users is not None and users.zeros == "silent",
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
def _restore(bundle: Bundle, config: RunConfig, found: Checkpoint, *, average: bool) -> None:
    """Put a checkpoint's weights, or their average, onto its base."""
    adapt(bundle, config)
    stored = found.tensors("ema" if average else "trainable")
    for name, value in trainable_parameters(bundle.unet).items():
        if name not in stored or stored[name].shape != value.shape:
            hint = "its config.yaml was changed, or the base is another one"
            what = f"it has no '{name}' of this size"
            raise CheckpointError(what, where=str(found.path), hint=hint)
        value.copy_(stored[name])
    bundle.unet.requires_grad_(False)
