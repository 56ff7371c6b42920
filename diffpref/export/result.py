"""A result exported in one call: opened, written, read back, described."""

from pathlib import Path
from typing import Literal

from diffpref.config.fits import auto_device
from diffpref.errors import UsageError
from diffpref.evaluate.opened import Opened, Place
from diffpref.evaluate.runs import CONFIG, open_weights
from diffpref.evaluate.subject import open_model
from diffpref.export.about import about
from diffpref.export.folder import require_free
from diffpref.export.forms import default_form
from diffpref.export.write import Exported, export
from diffpref.models.load import DTYPES


def export_model(
    model: str | Path,
    out: str | Path,
    *,
    form: Literal["diffusers", "peft", "kohya", "pipeline", "user"] | None = None,
    weights: Literal["result", "ema", "last"] = "result",
    checkpoint: str = "newest",
    dtype: Literal["fp32", "fp16", "bf16"] | None = None,
    profile: Path | None = None,
    results: Path | None = None,
    licence: str | None = None,
    check: bool = True,
    force: bool = False,
    device: str = "cpu",
) -> Exported:
    """Write a run's result for other programs, with a model card: `diffpref export` in Python.

    Args:
        model: a run folder, or BASE+LORA to write a LoRA anew.
        out: a new folder; with the form kohya also NAME.safetensors.
        form: what is written; what suits the training if absent.
        weights: the run's result; or a checkpoint's running average, or its weights as trained.
        checkpoint: with weights ema or last: newest, best, or a step.
        dtype: precision of the files; as trained if absent.
        profile: with the form user: a person's profile to lie beside it.
        results: a winrate.json of `evaluate winrate`, for the card.
        licence: of the result; the base's if absent.
        check: read everything back and compare the network's answer.
        force: replace an earlier export.
        device: where the network runs.

    Returns:
        Where it is, its files with their sizes, and the largest difference of the network's answer.

    Raises:
        UsageError: nothing was trained there, `out` is taken, or the form has no place for it.
        ConfigError: a part of the LoRA has no place in the form.
        DataError: the results or the profile are none.
        CheckpointError: read back, it is another network; nothing is left at `out`.
    """
    out = Path(out)
    require_free(out, force)
    _check_options(form, weights, checkpoint, profile)
    opened = _open(str(model), weights, checkpoint, device)
    return export(
        opened,
        out,
        form=form or default_form(opened.bundle),
        facts=about(opened, results=results, licence=licence),
        dtype=None if dtype is None else DTYPES[dtype],
        profile=profile,
        check=check,
    )


def _check_options(form: str | None, weights: str, checkpoint: str, profile: Path | None) -> None:
    if checkpoint != "newest" and weights == "result":
        hint = "add --weights ema or --weights last"
        raise UsageError("the result is no checkpoint", where="--checkpoint", hint=hint)
    if profile is not None and form not in {None, "user"}:
        hint = "write --as user, or leave --profile out"
        raise UsageError("only a user adapter hears a profile", where="--profile", hint=hint)


def _open(model: str, weights: str, checkpoint: str, device: str) -> Opened:
    place = Place(device=auto_device(device), dtype="fp32")  # half precision would round
    is_run = (Path(model) / CONFIG).is_file()
    if not is_run and (Path(model).exists() or "+" not in model):
        hint = "give a run folder, or BASE+LORA such as builtin:base+my.safetensors"
        raise UsageError("holds nothing that was trained", where=model, hint=hint)
    if weights == "result":
        return open_model(model, place=place)
    if not is_run:
        hint = "leave --weights out"
        raise UsageError("only a run has checkpoints", where=f"--weights {weights}", hint=hint)
    return open_weights(Path(model), place, average=weights == "ema", checkpoint=checkpoint)
