"""`diffpref scorers`: which there are, where their weights belong, and whether they work."""

import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

from diffpref.cli import scorer_options as options
from diffpref.cli.app import verb_app, write_columns, write_json
from diffpref.cli.scorer_capture import capture
from diffpref.cli.scorer_check import check
from diffpref.cli.scorer_convert import convert
from diffpref.errors import UsageError, nearest

if TYPE_CHECKING:
    from pathlib import Path

    from diffpref.rewards import Card, LoadOptions
    from diffpref.rewards.cards import Part

commands = verb_app(
    "The scorers: list, check, where, convert, capture; `diffpref scorers [--json]` alone lists.",
    no_args_is_help=True,
)

Json = Annotated[bool, typer.Option("--json", help="Write one JSON document.")]

commands.command("check")(check)
commands.command("convert")(convert)
commands.command("capture")(capture)


def app(args: list[str], *, prog_name: str) -> None:
    """Run `diffpref scorers`; without a command it is `diffpref scorers list`."""
    shortened = args in ([], ["--json"])
    commands(["list", *args] if shortened else args, prog_name=prog_name)


@commands.command("list")
def list_(*, weights_dir: options.WeightsDir = None, json: Json = False) -> None:
    """List every scorer, and whether its weights are on this machine.

    Here: yes, no, or which variants; `-` needs none, or brings its own.
    """
    from diffpref.rewards import SCORERS, LoadOptions

    told = LoadOptions(weights_dir=None if weights_dir is None else weights_dir.expanduser())
    found = [_described(SCORERS[name], told) for name in sorted(SCORERS)]
    plugins = [{"name": name, "kind": "plugin"} for name in _plugins()]
    if json:
        write_json([*found, *plugins])
        return
    head = ("scorer", "kind", "here", "differentiable", "licence", "parity")
    write_columns(
        [head, *map(_row, found), *((each["name"], "plugin") + ("",) * 4 for each in plugins)]
    )


@commands.command()
def where(
    name: options.Name, *, weights_dir: options.WeightsDir = None, json: Json = False
) -> None:
    """Say which files a scorer needs, where to get them, and where to put them."""
    from diffpref.rewards import LoadOptions
    from diffpref.rewards.resolve import ENVIRONMENT

    card = card_of(name)
    told = LoadOptions(weights_dir=None if weights_dir is None else weights_dir.expanduser())
    found = {
        "name": card.name,
        "about": card.about,
        "licence": card.licence,
        "source": card.source,
        "parts": [_part(card, part, told) for part in card.parts],
        "searched": [
            "--weights-dir DIR",
            f"${ENVIRONMENT} ({os.environ.get(ENVIRONMENT) or 'not set'})",
            "the hub's cache on this machine",
        ],
        "check": f"diffpref scorers check {name} --weights-dir DIR",
    }
    if json:
        write_json(found)
    else:
        _show(found)


def card_of(name: str) -> "Card":
    """Return the card of a scorer of the table.

    Raises:
        UsageError: there is none of this name.
    """
    from diffpref.rewards import SCORERS

    plain, _, variant = name.partition(":")
    if plain not in SCORERS:
        raise UsageError("is not a scorer", where=name, hint=nearest(plain, SCORERS))
    SCORERS[plain].variant(variant)
    return SCORERS[plain]


def _plugins() -> list[str]:
    from diffpref.rewards import SCORERS, scorer_names

    return [name for name in scorer_names() if name not in SCORERS]


def _described(card: "Card", told: "LoadOptions") -> dict[str, Any]:
    here = {variant: _here(card, variant, told) for variant in card.variants or ("",)}
    return {
        "name": card.name,
        "kind": card.kind,
        "about": card.about,
        "scale": card.scale,
        "variants": list(card.variants),
        "licence": card.licence,
        "differentiable": card.differentiable,
        "needs_prompt": card.needs_prompt,
        "source": card.source,
        "parity": card.parity,
        "here": here if card.variants else here[""],
    }


def _here(card: "Card", variant: str, told: "LoadOptions") -> bool | None:
    """Say whether all weights of a variant are here; None if it needs none."""
    from diffpref.rewards.examine import located

    found = located(card, variant, told)
    return all(path is not None for _, path in found) if found else None


def _row(found: dict[str, Any]) -> tuple[str, ...]:
    names = [
        f"{found['name']}:{v}" if n else found["name"] for n, v in enumerate(found["variants"])
    ]
    return (
        ", ".join(names) or found["name"],
        found["kind"],
        _word(found["here"]),
        "yes" if found["differentiable"] else "no",
        found["licence"],
        found["parity"],
    )


def _word(here: bool | dict[str, bool | None] | None) -> str:
    if not isinstance(here, dict):
        return {None: "-", True: "yes", False: "no"}[here]
    if len(set(here.values())) == 1:
        return _word(next(iter(here.values())))
    return ", ".join(variant for variant, there in here.items() if there)


def _part(card: "Card", part: "Part", told: "LoadOptions") -> dict[str, Any]:
    from diffpref.rewards.examine import located

    here: Path | None = next(
        path for each, path in located(card, part.variant or card.variant(""), told) if each is part
    )
    folder = f"DIR/{card.name}/" + (f"{part.name}/" if len(card.parts) > 1 else "")
    return {
        "part": part.name,
        "variant": part.variant,
        "files": list(part.files),
        "folder": part.folder,
        "hub": part.repo,
        "origin": part.origin,
        "gigabytes": part.gigabytes,
        "numbers": part.parameters,
        "licence": part.licence,
        "put_into": folder,
        "here": None if here is None else str(here),
    }


def _show(found: dict[str, Any]) -> None:
    typer.echo(f"{found['name']}: {found['about']}\nlicence: {found['licence']}\n")
    if not found["parts"]:
        typer.echo("needs no weights, or brings its own")
        return
    for part in found["parts"]:
        only = f" (only {found['name']}:{part['variant']})" if part["variant"] else ""
        beside = ", with its config and tokenizer" if part["folder"] else ""
        numbers = f", {part['numbers']:,} numbers" if part["numbers"] else ""
        write_columns(
            [
                (f"{part['part']}{only}", ""),
                ("  file", " or ".join(part["files"]) + beside),
                ("  from", part["origin"]),
                ("  size", f"about {part['gigabytes']:g} GB{numbers}"),
                ("  licence", part["licence"]),
                ("  put into", part["put_into"]),
                ("  here", part["here"] or "no"),
            ]
        )
        typer.echo("")
    typer.echo("searched in this order: " + "; ".join(found["searched"]))
    typer.echo(f"then: {found['check']}")
