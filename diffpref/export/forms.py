"""The forms of an export: who writes each, and how each is read back."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import torch

from diffpref.data.user_encoders import FILE as ENCODER
from diffpref.errors import UsageError
from diffpref.evaluate.opened import Opened
from diffpref.evaluate.profiles import PRIOR as PRIOR_NAME
from diffpref.evaluate.profiles import USERS_BY
from diffpref.export.licences import OURS
from diffpref.models import (
    Bundle,
    has_adapters,
    load_bundle,
    load_user_adapter,
    save_lora,
    save_pipeline,
    save_user_adapter,
    user_adapter_of,
)
from diffpref.models.kohya import save_kohya
from diffpref.models.lora_files import FILE as LORA
from diffpref.models.peft_files import save_peft
from diffpref.models.readback import reload_lora, reload_peft
from diffpref.models.user_files import FILE as USER
from diffpref.models.user_files import read_about, remove_user_adapter
from diffpref.users.prior_file import FILE as PRIOR


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is written beside the weights' own numbers: the name, a precision, a licence."""

    name: str
    dtype: torch.dtype | None = None
    licence: str = OURS

    @property
    def file(self) -> str:
        """What a kohya file is called: its name is what a person sees in a list of LoRAs."""
        return f"{self.name}.safetensors"


Write = Callable[[Path, Opened, Asked], None]
Reload = Callable[[Path, Opened, Asked], Bundle]


@dataclass(frozen=True, kw_only=True)
class Form:
    """One form. `file` names its main file, given the export's name; empty for a folder.

    `exact` is the largest difference, relative to the largest number of the network's answer, at
    which float32 files read back count as the same network: a LoRA is computed as it was, folded
    weights round once more.
    """

    write: Write
    reload: Reload
    file: Callable[[Asked], str]
    exact: float = 1e-5


def default_form(bundle: Bundle) -> str:
    """Return the form that suits what was trained."""
    if user_adapter_of(bundle.unet) is not None:
        return "user"
    return "diffusers" if has_adapters(bundle.unet) else "pipeline"


def check_form(bundle: Bundle, form: str) -> None:
    """Refuse a form that has no place for what was trained.

    Raises:
        UsageError: it has none; names the one that does.
    """
    user, lora = user_adapter_of(bundle.unet) is not None, has_adapters(bundle.unet)
    if user and form != "user":
        what, hint = "the run trained a user adapter", "write --as user"
    elif not user and form == "user":
        what, hint = "the model has no user adapter", "write --as diffusers, or another form"
    elif form in {"diffusers", "peft", "kohya"} and not lora:
        what, hint = "the model has no LoRA: all its weights were trained", "write --as pipeline"
    else:
        return
    raise UsageError(what, where=f"--as {form}", hint=hint)


def _write_lora(out: Path, opened: Opened, asked: Asked) -> None:
    save_lora(out, opened.bundle, dtype=asked.dtype)


def _write_peft(out: Path, opened: Opened, asked: Asked) -> None:
    save_peft(out, opened.bundle, dtype=asked.dtype)


def _write_kohya(out: Path, opened: Opened, asked: Asked) -> None:
    licence = "other" if " " in asked.licence else asked.licence
    fields = {"modelspec.title": asked.name, "modelspec.license": licence}
    save_kohya(out / asked.file, opened.bundle, about=fields, dtype=asked.dtype)


def _write_pipeline(out: Path, opened: Opened, asked: Asked) -> None:
    save_pipeline(out, opened.bundle, dtype=asked.dtype)


def _write_user(out: Path, opened: Opened, asked: Asked) -> None:
    del asked  # a user adapter keeps the precision it trains in
    run = opened.run
    known = read_about(run) if run is not None and (run / USER).is_file() else {}
    told = {name: known[name] for name in ("family", "base", "encoder", "prior") if name in known}
    told |= {"prior_sha256": known["prior_sha256"]} if "prior_sha256" in known else {}
    facts = {"encoder": USERS_BY, "prior": PRIOR_NAME}
    told |= {name: opened.facts[fact] for name, fact in facts.items() if fact in opened.facts}
    save_user_adapter(out, opened.bundle.unet, told)
    for name in (PRIOR, ENCODER):
        if run is not None and (run / name).is_file():
            shutil.copyfile(run / name, out / name)


def _reload_lora(out: Path, opened: Opened, asked: Asked) -> Bundle:
    del asked
    reload_lora(opened.bundle, out / LORA)
    return opened.bundle


def _reload_kohya(out: Path, opened: Opened, asked: Asked) -> Bundle:
    reload_lora(opened.bundle, out / asked.file)
    return opened.bundle


def _reload_peft(out: Path, opened: Opened, asked: Asked) -> Bundle:
    del asked
    reload_peft(opened.bundle, out)
    return opened.bundle


def _reload_pipeline(out: Path, opened: Opened, asked: Asked) -> Bundle:
    del asked
    return load_bundle(str(out), device=str(opened.bundle.device))


def _reload_user(out: Path, opened: Opened, asked: Asked) -> Bundle:
    del asked
    remove_user_adapter(opened.bundle.unet)
    load_user_adapter(opened.bundle.unet, out)
    return opened.bundle


FORMS: Mapping[str, Form] = MappingProxyType(
    {
        "diffusers": Form(write=_write_lora, reload=_reload_lora, file=lambda _: LORA),
        "peft": Form(write=_write_peft, reload=_reload_peft, file=lambda _: ""),
        "kohya": Form(write=_write_kohya, reload=_reload_kohya, file=lambda asked: asked.file),
        "pipeline": Form(
            write=_write_pipeline, reload=_reload_pipeline, file=lambda _: "", exact=1e-3
        ),
        "user": Form(write=_write_user, reload=_reload_user, file=lambda _: USER),
    }
)
"""Name of a form, as --as takes it -> the form."""
