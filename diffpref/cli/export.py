"""`diffpref export`: a run's result in the layouts other programs open, with a model card."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from diffpref.cli import export_options as options
from diffpref.cli import sample_options as sampling
from diffpref.cli.app import verb_app, write_columns, write_json
from diffpref.cli.export_push import push_folder, require_pushable
from diffpref.errors import UsageError

if TYPE_CHECKING:
    from diffpref.evaluate.opened import Opened
    from diffpref.export.write import Exported

ABOUT = """Write a run's result for other programs, with a model card.

\b
  diffusers  a LoRA: pipe.load_lora_weights(OUT)
  peft       a LoRA: PeftModel.from_pretrained(pipe.unet, OUT/unet)
  kohya      a LoRA in one file: ComfyUI, A1111, Forge
  pipeline   the whole model, the LoRA folded in: DiffusionPipeline.from_pretrained(OUT)
  user       a user adapter: pipe.load_ip_adapter(OUT, ...)

\b
  diffpref export runs/x out/my-lora
  diffpref export runs/x ComfyUI/models/loras/my.safetensors --as kohya
  diffpref export runs/x out/whole --as pipeline --dtype fp16
  diffpref export runs/x out/ema --weights ema --checkpoint 400
  diffpref export builtin:base+my.safetensors out/anew --as peft

Everything is read back after it is written, and the network's answer compared; what does not agree
is not kept. --push shows every file with its size, and where it would go, and asks first.
"""

app = verb_app(ABOUT)


@app.command(help=ABOUT)
def export(
    run: options.Run,
    out: options.Out,
    *,
    form: options.As = None,
    weights: options.Weights = "result",
    checkpoint: options.Checkpoint = "newest",
    dtype: options.Dtype = None,
    profile: options.Profile = None,
    results: options.Results = None,
    licence: options.Licence = None,
    check: options.Check = True,
    push: options.Push = None,
    private: options.Private = True,
    yes: options.Yes = False,
    include_profile: options.IncludeProfile = False,
    force: sampling.Force = False,
    device: sampling.Device = "cpu",
    json: sampling.Json = False,
) -> None:
    """Write, read back, describe and on request upload a result."""
    from diffpref.export.about import about
    from diffpref.export.folder import require_free
    from diffpref.export.forms import default_form
    from diffpref.export.write import export as write
    from diffpref.export.write import is_file
    from diffpref.models.load import DTYPES

    require_free(out, force)
    _check_options(form, weights, checkpoint, profile)
    if push is not None:
        alone = is_file(out, form or "")
        require_pushable(push, alone=alone, profile=profile, include=include_profile)
    opened = _open(run, weights, checkpoint, device)
    made = write(
        opened,
        out,
        form=form or default_form(opened.bundle),
        facts=about(opened, results=results, licence=licence),
        dtype=None if dtype is None else DTYPES[dtype],
        profile=profile,
        check=check,
    )
    told = _told(made, opened)
    if json:
        write_json(told)
    else:
        _show(made, told)
    if push is not None:
        push_folder(out, push, private=private, yes=yes)


def _check_options(form: str | None, weights: str, checkpoint: str, profile: Path | None) -> None:
    if checkpoint != "newest" and weights == "result":
        hint = "add --weights ema or --weights last"
        raise UsageError("the result is no checkpoint", where="--checkpoint", hint=hint)
    if profile is not None and form not in {None, "user"}:
        hint = "write --as user, or leave --profile out"
        raise UsageError("only a user adapter hears a profile", where="--profile", hint=hint)


def _open(run: str, weights: str, checkpoint: str, device: str) -> "Opened":
    from diffpref.config.fits import auto_device
    from diffpref.evaluate.opened import Place
    from diffpref.evaluate.runs import CONFIG, open_weights
    from diffpref.evaluate.subject import open_model

    place = Place(device=auto_device(device), dtype="fp32")  # half precision would round
    is_run = (Path(run) / CONFIG).is_file()
    if not is_run and (Path(run).exists() or "+" not in run):
        hint = "give a run folder, or BASE+LORA such as builtin:base+my.safetensors"
        raise UsageError("holds nothing that was trained", where=run, hint=hint)
    if weights == "result":
        return open_model(run, place=place)
    if not is_run:
        hint = "leave --weights out"
        raise UsageError("only a run has checkpoints", where=f"--weights {weights}", hint=hint)
    return open_weights(Path(run), place, average=weights == "ema", checkpoint=checkpoint)


def _told(made: "Exported", opened: "Opened") -> dict[str, Any]:
    return {
        "out": str(made.out),
        "form": made.form,
        "what": opened.facts.get("result", "LoRA"),
        "files": made.files,
        "bytes": sum(made.files.values()),
        "difference": made.difference,
    }


def _show(made: "Exported", told: dict[str, Any]) -> None:
    read = "not read back" if made.difference is None else f"{made.difference:.1e}"
    write_columns(
        [
            ("form", made.form),
            ("what", str(told["what"])),
            ("difference, read back", read),
            *((name, f"{size:,} bytes") for name, size in made.files.items()),
        ]
    )
    typer.echo(f"\nwritten: {made.out}")
