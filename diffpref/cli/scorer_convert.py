"""`diffpref scorers convert`: a pickled network's weights as safetensors, nothing of it run."""

from pathlib import Path
from typing import Annotated

import typer

from diffpref.cli import sample_options as sampling
from diffpref.cli.app import write_columns, write_json
from diffpref.errors import UsageError

SHOWN = 8
"""Names shown of what a file names beside its weights."""


def convert(
    file: Annotated[Path, typer.Argument(help="A .pt, .pth, .bin or .ckpt of torch.save.")],
    *,
    out: Annotated[Path, typer.Option("--out", help="The .safetensors file.")],
    key: Annotated[
        str | None, typer.Option("--key", help="Entry of the file that holds the weights.")
    ] = None,
    force: sampling.Force = False,
    json: sampling.Json = False,
) -> None:
    """Write the weights of a torch file as safetensors, even if it pickles a whole network.

    Its pickle is read as data: no class it names is imported and nothing of it is called, so a
    file from a stranger is safe to convert. TorchScript programs are refused.
    """
    if out.suffix != ".safetensors":
        hint = f"write --out {out.with_suffix('.safetensors')}"
        raise UsageError("must end in .safetensors", where=f"--out {out}", hint=hint)
    if out.exists() and not force:
        raise UsageError("exists already", where=str(out), hint="add --force, or name another file")
    from diffpref.io.convert import convert as write
    from diffpref.rewards.examine import sha256_of

    out.parent.mkdir(parents=True, exist_ok=True)
    made = write(file, out, key=key)
    found = {
        "file": str(file),
        "sha256": sha256_of(file),
        "out": str(out),
        "out_sha256": sha256_of(out),
        "tensors": len(made.tensors),
        "numbers": sum(tensor.numel() for tensor in made.tensors.values()),
        "foreign": list(made.foreign),
    }
    if json:
        write_json(found)
        return
    write_columns(
        [
            ("from", f"{file}", f"sha256 {found['sha256']}"),
            ("to", f"{out}", f"sha256 {found['out_sha256']}"),
        ]
    )
    typer.echo(f"{found['tensors']} tensors, {found['numbers']:,} numbers")
    if made.foreign:
        more = f" and {len(made.foreign) - SHOWN} more" if len(made.foreign) > SHOWN else ""
        names = ", ".join(made.foreign[:SHOWN])
        typer.echo(f"named by the file, not imported: {names}{more}", err=True)
