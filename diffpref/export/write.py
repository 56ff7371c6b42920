"""Writes an export: weights, card and list of files, read back before it counts as done."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import torch

from diffpref.errors import CheckpointError
from diffpref.evaluate.opened import Opened
from diffpref.export.about import About
from diffpref.export.card import card
from diffpref.export.folder import beside, put, write_manifest
from diffpref.export.forms import FORMS, Asked, Form, check_form
from diffpref.io import write_atomic
from diffpref.io.atomic import disk_errors
from diffpref.models.readback import probe
from diffpref.users.profile_file import require_profile

README, PROFILE = "README.md", "profile.safetensors"
HALF = 5e-2
"""Of the largest number of a network's answer: what half-precision files may differ by."""


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What was written: where, in which form, what of the run, its files' sizes in bytes.

    `difference` is the largest of the network's answer, read back, as a share of its largest
    number; None if it was not read back.
    """

    out: Path
    form: str
    what: str
    files: dict[str, int]
    difference: float | None


def export(
    opened: Opened,
    out: Path,
    *,
    form: str,
    facts: About,
    dtype: torch.dtype | None = None,
    profile: Path | None = None,
    check: bool = True,
) -> Exported:
    """Write a folder, or for a kohya file named *.safetensors that file alone.

    Args:
        opened: the model, in float32; checking takes its adapter out and the written one in.
        out: where to; what is there is replaced.
        form: of FORMS.
        facts: for the card.
        dtype: of the weights' files; None keeps their own.
        profile: of a person, to lie beside a user adapter.
        check: read everything back and compare the network's answer.

    Returns:
        What was written.

    Raises:
        UsageError: the form has no place for what was trained.
        ConfigError: a part of the LoRA has no place in the form.
        DataError: the profile is none.
        CheckpointError: read back, it is another network; nothing is left at `out`.
    """
    check_form(opened.bundle, form)
    if profile is not None:
        require_profile(profile)
    alone = is_file(out, form)
    asked = Asked(name=out.stem if alone else out.name, dtype=dtype, licence=facts.licence)
    kind, file = FORMS[form], FORMS[form].file(asked)
    what = opened.facts.get("result", "LoRA")
    before = probe(opened.bundle) if check else None
    with disk_errors(out.parent, 0), beside(out) as stage:
        kind.write(stage, opened, asked)
        difference = None
        if before is not None:
            difference = _difference(before, probe(kind.reload(stage, opened, asked)))
            _require_same(difference, kind, form, dtype)
        if alone:
            put(stage / file, out)
            files = {file: out.stat().st_size}
            return Exported(out=out, form=form, what=what, files=files, difference=difference)
        if profile is not None:
            shutil.copyfile(profile, stage / PROFILE)
        text = card(facts, form, name=asked.name, file=file, note=_note(difference))
        write_atomic(stage / README, text)
        files = write_manifest(stage, form)
        put(stage, out)
    return Exported(out=out, form=form, what=what, files=files, difference=difference)


def is_file(out: Path, form: str) -> bool:
    """Tell whether an export is one file without a card: a kohya file named as such."""
    return form == "kohya" and out.suffix == ".safetensors"


def _difference(before: torch.Tensor, after: torch.Tensor) -> float:
    return float((after - before).abs().max() / before.abs().max())


def _require_same(difference: float, kind: Form, form: str, dtype: torch.dtype | None) -> None:
    half = dtype not in {None, torch.float32}
    if difference <= (HALF if half else kind.exact):
        return
    raise CheckpointError(
        f"read back, the network's answer differs by {difference:.2g} of its largest number",
        where=f"--as {form}",
        hint="choose another form, such as pipeline, and report this; nothing was written",
    )


def _note(difference: float | None) -> str:
    if difference is None:
        return ""
    return (
        "Read back after it was written: the network's answer to fixed noise differs by "
        f"{difference:.1e} of its largest number."
    )
