"""`diffpref config`: the presets that ship with the package, and the schema of a run."""

from pathlib import Path
from typing import Annotated

import typer

from diffpref import assets
from diffpref.cli.app import verb_app, write_columns, write_json
from diffpref.errors import UsageError

ABOUT = "The presets that ship with diffpref, and the schema of a configuration."

app = verb_app(ABOUT, no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Write one JSON document.")]
Name = Annotated[str, typer.Argument(metavar="CONFIG", help="A preset or a file.")]


@app.command("list")
def list_(*, json: Json = False) -> None:
    """List the presets: the names that `diffpref train` takes."""
    found = [(name, _about(path)) for name, path in assets.presets().items()]
    if json:
        write_json([{"name": name, "about": about} for name, about in found])
    else:
        write_columns(found)


@app.command()
def show(name: Name, *, json: Json = False) -> None:
    """Write a preset to stdout, comments included; --json: checked, with every default."""
    if json:
        from diffpref.config import load_config

        write_json(load_config(name).model_dump(mode="json"))
        return
    typer.echo(assets.find_config(name).read_text(encoding="utf-8"), nl=False)


@app.command()
def copy(
    name: Name,
    target: Annotated[
        Path | None,
        typer.Argument(help="The new file; the preset's own name in this folder when left out."),
    ] = None,
) -> None:
    """Copy a preset into a file of your own, to edit it. Never overwrites."""
    source = assets.find_config(name)
    path = target or Path(source.name)
    if path.is_dir():
        path = path / source.name
    text = source.read_text(encoding="utf-8")
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        hint = f"name another file: diffpref config copy {name} NEW.yaml"
        raise UsageError("this file exists already", where=str(path), hint=hint) from None
    except OSError as error:
        hint = "name a file in a folder that exists and that you may write to"
        raise UsageError(
            f"cannot be written: {error.strerror}", where=str(path), hint=hint
        ) from None
    typer.echo(str(path))


@app.command()
def schema() -> None:
    """Write the JSON schema of a configuration, for editors that complete and check YAML."""
    from diffpref.config import RunConfig

    write_json(RunConfig.model_json_schema())


def _about(preset: Path) -> str:
    """Return the first line of a preset when it is a comment: what the preset is for."""
    with preset.open(encoding="utf-8") as file:
        first = file.readline()
    return first.removeprefix("#").strip() if first.startswith("#") else ""
