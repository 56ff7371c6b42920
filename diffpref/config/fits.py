"""Combinations that cannot work, refused before any weight is loaded."""

import torch

from diffpref.catalogue import build_objective, find_method
from diffpref.config.online import check_material, check_sampling
from diffpref.config.schema import DataConfig, RunConfig, UsersConfig
from diffpref.config.stand_in import stand_in
from diffpref.config.thrift import check_thrift
from diffpref.errors import ConfigError, nearest
from diffpref.evaluate.drift import drift_names


def check_fits(config: RunConfig) -> None:
    """Check what no single field shows.

    Raises:
        ConfigError: names the field to change.
    """
    check_material(config)
    _check_reference(config)
    _check_method(config)
    if config.data is not None:
        _check_data(config, config.data)
    _check_saving(config)
    _check_drift(config)
    _check_users(config)
    check_thrift(config)
    if config.users is not None:
        _check_encoder(config.users)
    if config.adapter.dora and config.adapter.kind != "lora":
        raise ConfigError("there is no LoRA", where="adapter.dora", hint="set adapter.kind: lora")
    if config.optimizer.warmup > config.loop.steps:
        what = f"{config.optimizer.warmup} steps of warm-up in a run of {config.loop.steps}"
        hint = "lower optimizer.warmup or raise loop.steps"
        raise ConfigError(what, where="optimizer.warmup", hint=hint)


def _check_reference(config: RunConfig) -> None:
    kind, need = config.reference.kind, find_method(config.method.name).reference
    name = config.method.name
    if kind == "none" and need == "needed":
        hint = "set reference.kind: adapters_off (LoRA) or frozen"
        raise ConfigError(f"{name} compares with a reference", where="reference.kind", hint=hint)
    if kind != "none" and need == "refused":
        hint = "set reference.kind: none"
        raise ConfigError(f"{name} has no reference", where="reference.kind", hint=hint)
    if kind == "adapters_off" and config.adapter.kind != "lora":
        what = "without a LoRA there are no adapters to switch off"
        hint = "set reference.kind: frozen, or adapter.kind: lora"
        raise ConfigError(what, where="reference.kind", hint=hint)
    if config.reference.budget is not None and kind != "moving":
        what = f"a reference of kind {kind} has no budget to keep"
        hint = "set reference.kind: moving, or remove reference.budget"
        raise ConfigError(what, where="reference.budget", hint=hint)


def _check_method(config: RunConfig) -> None:
    """Build the objective on a stand-in schedule: wrong settings and parts are refused by name."""
    method, kit = config.method, stand_in(config.rollout)
    objective = build_objective(method.name, kit, method.settings, config.parts)
    loss = getattr(objective, "loss", None)
    check_sampling(config, objective)
    if config.reference.kind == "none" and getattr(loss, "needs_reference", False):
        raise ConfigError(
            "this loss compares with a reference",
            where="parts.loss",
            hint="choose another loss, or a method with a reference such as dspo",
        )
    learns = getattr(objective, "learns_from_ties", None)
    if config.data is not None and config.data.ties == "soft" and learns is False:
        raise ConfigError(
            "this loss learns nothing from ties",
            where="data.ties",
            hint="set data.ties: drop, or parts: {loss: cross_entropy, label: soft}",
        )


def _check_data(config: RunConfig, data: DataConfig) -> None:
    name = config.method.name
    unit = find_method(name).data
    if data.unpaired and unit != "unpaired":
        hint = "remove data.unpaired, or choose method: diffusion_kto"
        what = f"{name} does not learn from single images that are each liked or disliked"
        raise ConfigError(what, where="data.unpaired", hint=hint)
    if data.recall:
        _check_recall(config, data)
    if data.unpaired and data.absolute_winners:
        hint = "set one of data.absolute_winners and data.unpaired"
        raise ConfigError("single images win nothing", where="data.absolute_winners", hint=hint)


def _check_recall(config: RunConfig, data: DataConfig) -> None:
    if data.draws_per_row is None:
        hint = "set data.draws_per_row: 4, for example"
        what = "endless draws cannot be kept"
        raise ConfigError(what, where="data.recall", hint=hint)
    if config.reference.kind not in {"frozen", "adapters_off"}:
        what = f"a reference of kind {config.reference.kind} has no side that could be kept"
        hint = "set reference.kind: adapters_off (LoRA) or frozen, or data.recall: false"
        raise ConfigError(what, where="reference.kind", hint=hint)


def _check_saving(config: RunConfig) -> None:
    best = config.save.best_by
    if best is None:
        return
    scorers = config.evaluate.scorers if config.evaluate else ()
    known = [f"win_rate/{scorer}" for scorer in scorers]
    if config.users is not None and config.evaluate is not None:
        known = ["implicit/own", "implicit/own-swapped"] if config.users.held_out else []
    if best not in known:
        what = f"nothing measures '{best}'"
        hint = nearest(best, known) if known else "name the scorer in evaluate.scorers"
        raise ConfigError(what, where="save.best_by", hint=hint)


def _check_drift(config: RunConfig) -> None:
    evaluate = config.evaluate
    if evaluate is None or not evaluate.max_drift:
        return
    known = drift_names(config.model.base, evaluate.drift_features)
    for name in evaluate.max_drift:
        if name not in known:
            what = f"no drift is called '{name}'"
            raise ConfigError(what, where="evaluate.max_drift", hint=nearest(name, known))
    if evaluate.n * len(evaluate.seeds) < 2:
        hint = "raise evaluate.n"
        raise ConfigError("one image has no drift", where="evaluate.max_drift", hint=hint)


def _check_users(config: RunConfig) -> None:
    """Check that rows, adapter and reference agree on whether there are users."""
    kind, users = config.adapter.kind, config.users
    if find_method(config.method.name).users and users is None:
        what = f"{config.method.name} learns from rows that are somebody's"
        raise ConfigError(what, where="users", hint="add users: {}, with adapter.kind: user")
    if (kind == "user") != (users is not None):
        what = "there is no adapter to tell them to" if users else "there is nobody to learn"
        hint = "set adapter.kind: user" if users else "add users: {} to say whom rows are for"
        raise ConfigError(what, where="users" if users else "adapter.kind", hint=hint)
    reference = config.reference.kind
    if users is not None and reference not in {"none", "gate_off"}:
        what = f"a reference of kind {reference} would know the users too"
        raise ConfigError(what, where="reference.kind", hint="set reference.kind: gate_off")
    if users is None and reference == "gate_off":
        what = "without users there is no gate to close"
        hint = "set reference.kind: adapters_off (LoRA) or frozen"
        raise ConfigError(what, where="reference.kind", hint=hint)
    if users is not None and config.data is None:
        hint = "give data whose rows name their user"
        raise ConfigError("the policy's own samples are nobody's", where="users", hint=hint)
    if users is not None and config.data is not None and config.data.unpaired:
        what = "users are described by choices between two images"
        raise ConfigError(what, where="data.unpaired", hint="set data.unpaired: false")
    if users is not None and config.evaluate is not None and config.evaluate.scorers:
        what = "images made for nobody are the base's"
        hint = "remove evaluate.scorers: with users, implicit accuracy is measured"
        raise ConfigError(what, where="evaluate.scorers", hint=hint)


def _check_encoder(users: UsersConfig) -> None:
    """Check that a vision-language model is named where one is read."""
    if users.encoder == "vlm" and users.vlm is None:
        hint = "set users.vlm: {folder: PATH of a LLaVA-OneVision or Qwen2.5-VL}"
        raise ConfigError("no model is named", where="users.vlm", hint=hint)
    if users.encoder != "vlm" and users.vlm is not None:
        hint = "set users.encoder: vlm, or leave users.vlm out"
        raise ConfigError(f"{users.encoder} reads no model", where="users.vlm", hint=hint)


def auto_device(wanted: str) -> str:
    """Return the device a run uses: `auto` is CUDA, else Apple's, else the CPU."""
    if wanted != "auto":
        return wanted
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
