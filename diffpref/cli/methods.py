"""`diffpref methods`: every method with its paper, its equation and how far it is checked."""

from inspect import cleandoc
from typing import Annotated, Any

import typer

from diffpref.cli.app import verb_app, write_columns, write_json

ABOUT = """List, show and cite the methods; `diffpref methods [--json]` alone lists them.

Status: untested; equation (checked against the paper's formula); parity (against numbers
recorded from the released code's mathematics); reproduced (a published result repeated).
"""

commands = verb_app(ABOUT)

Json = Annotated[bool, typer.Option("--json", help="Write one JSON document.")]
Name = Annotated[str, typer.Argument(metavar="METHOD", help="A name that `methods list` shows.")]


def app(args: list[str], *, prog_name: str, standalone_mode: bool) -> object:
    """Run `diffpref methods`; without a command it is `diffpref methods list`."""
    shortened = args in ([], ["--json"])
    words = ["list", *args] if shortened else args
    return commands(words, prog_name=prog_name, standalone_mode=standalone_mode)


@commands.command("list")
def list_(*, json: Json = False) -> None:
    """List the methods with their papers and status."""
    from diffpref.catalogue import describe, method_names

    found = [describe(name) for name in method_names()]
    if json:
        write_json(found)
    else:
        write_columns([("method", "status", "data", "paper", ""), *map(_row, found)])


def _cost(cost: dict[str, Any]) -> str:
    return (
        f"{cost['forwards']:g} forwards per {cost['per']}: {cost['without_gradient']:g} without "
        f"gradient, {cost['with_gradient']:g} with (forward and backward count 3)"
    )


def _sampling(cost: dict[str, Any]) -> list[tuple[str, str]]:
    made = cost["sampling"]
    if made is None:
        return []
    told = f"{made['network']:.3g} network rows, {made['rewards']:.3g} rewards per {cost['per']}"
    return [("sampling", told)]


@commands.command()
def show(name: Name, *, json: Json = False) -> None:
    """Show one method: its equation, hyper-parameters, cost, paper and needs."""
    from diffpref.catalogue import describe
    from diffpref.cost import cost

    found: dict[str, Any] = describe(name)
    found["cost"] = cost(name)
    if json:
        write_json(found)
        return
    paper = found["paper"]
    write_columns(
        [
            ("method", found["name"]),
            ("paper", f"{paper['title']} ({paper['year']}), {paper['url']}"),
            ("status", found["status"]),
            ("data", found["data"]),
            ("reference", found["reference"]),
            ("UNet cost", _cost(found["cost"])),
            *_sampling(found["cost"]),
            *[(f"method.{key}", str(default)) for key, default in found["parameters"].items()],
        ]
    )
    typer.echo(f"\n{cleandoc(found['equation'])}\n\n{found['bibtex']}")


@commands.command()
def cite(name: Name, *, json: Json = False) -> None:
    """Write the BibTeX entry of a method's paper."""
    from diffpref.catalogue import describe

    bibtex = describe(name)["bibtex"]
    if json:
        write_json({"name": name, "bibtex": bibtex})
    else:
        typer.echo(bibtex)


def _row(found: dict[str, Any]) -> tuple[str, ...]:
    return (
        found["name"],
        found["status"],
        found["data"],
        found["paper"]["short"],
        found["summary"],
    )
