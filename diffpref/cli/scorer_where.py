"""`diffpref scorers where`: what a person has to get, from where, and where to put it."""

import os
from typing import TYPE_CHECKING, Any

import typer

from diffpref.cli import sample_options as sampling
from diffpref.cli import scorer_options as options
from diffpref.cli.app import write_columns, write_json
from diffpref.cli.scorer_cards import card_of

if TYPE_CHECKING:
    from pathlib import Path

    from diffpref.rewards import Card, LoadOptions
    from diffpref.rewards.cards import Part


def where(
    name: options.Name, *, weights_dir: options.WeightsDir = None, json: sampling.Json = False
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
        "needs": card.needs,
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
        typer.echo(
            f"needs {found['needs']}" if found["needs"] else "needs no weights: it is built in"
        )
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
                ("  size", _size(part["gigabytes"]) + numbers),
                ("  licence", part["licence"]),
                ("  put into", part["put_into"]),
                ("  here", part["here"] or "no"),
            ]
        )
        typer.echo("")
    typer.echo("searched in this order: " + "; ".join(found["searched"]))
    typer.echo(f"then: {found['check']}")


def _size(gigabytes: float) -> str:
    return f"about {gigabytes:g} GB" if gigabytes >= 1e-3 else "less than 1 MB"
