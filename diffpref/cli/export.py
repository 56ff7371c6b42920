"""`diffpref export`: a run's result in the layouts other programs open, with a model card."""

from typing import TYPE_CHECKING, Any

import typer

from diffpref.cli import export_options as options
from diffpref.cli import sample_options as sampling
from diffpref.cli.app import verb_app, write_columns, write_json
from diffpref.cli.export_push import push_folder, require_pushable

if TYPE_CHECKING:
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
    from diffpref.export.result import export_model
    from diffpref.export.write import is_file

    if push is not None:
        alone = is_file(out, form or "")
        require_pushable(push, alone=alone, profile=profile, include=include_profile)
    made = export_model(
        run,
        out,
        form=form,
        weights=weights,
        checkpoint=checkpoint,
        dtype=dtype,
        profile=profile,
        results=results,
        licence=licence,
        check=check,
        force=force,
        device=device,
    )
    told = _told(made)
    if json:
        write_json(told)
    else:
        _show(made, told)
    if push is not None:
        push_folder(out, push, private=private, yes=yes)


def _told(made: "Exported") -> dict[str, Any]:
    return {
        "out": str(made.out),
        "form": made.form,
        "what": made.what,
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
