"""`diffpref scorers`: which there are, where their weights belong, and whether they work."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from diffpref.cli import scorer_options as options
from diffpref.cli.app import verb_app, write_columns, write_json
from diffpref.cli.scorer_capture import capture
from diffpref.cli.scorer_cards import all_cards, is_text
from diffpref.cli.scorer_check import check
from diffpref.cli.scorer_convert import convert
from diffpref.cli.scorer_where import where

if TYPE_CHECKING:
    from diffpref.rewards import Card, LoadOptions

commands = verb_app(
    "The scorers: list, check, where, convert, capture; `diffpref scorers [--json]` alone lists.",
    no_args_is_help=True,
)

SHOWN = 3
"""Variants named on a scorer's line."""

Json = Annotated[bool, typer.Option("--json", help="Write one JSON document.")]

commands.command("check")(check)
commands.command("where")(where)
commands.command("convert")(convert)
commands.command("capture")(capture)


def app(args: list[str], *, prog_name: str, standalone_mode: bool) -> object:
    """Run `diffpref scorers`; without a command it is `diffpref scorers list`."""
    shortened = args in ([], ["--json"])
    words = ["list", *args] if shortened else args
    return commands(words, prog_name=prog_name, standalone_mode=standalone_mode)


@commands.command("list")
def list_(*, weights_dir: options.WeightsDir = None, json: Json = False) -> None:
    """List every scorer, and whether its weights are on this machine.

    Here: yes, no, or which variants; `-` needs none, or brings its own. The last column names
    variants: `NAME:VARIANT` asks for one, `NAME` alone for the first; `scorers where NAME` shows
    them all, and --json everything.
    """
    from diffpref.rewards import LoadOptions

    told = LoadOptions(weights_dir=None if weights_dir is None else weights_dir.expanduser())
    cards = all_cards()
    found = [_described(cards[name], told) for name in sorted(cards)]
    plugins = [{"name": name, "kind": "plugin"} for name in _plugins()]
    if json:
        write_json([*found, *plugins])
        return
    head = ("scorer", "kind", "here", "differentiable", "licence", "parity", "variants")
    write_columns(
        [head, *map(_row, found), *((each["name"], "plugin") + ("",) * 5 for each in plugins)]
    )


def _plugins() -> list[str]:
    from diffpref.rewards import SCORERS, scorer_names

    return [name for name in scorer_names() if name not in SCORERS]


def _described(card: "Card", told: "LoadOptions") -> dict[str, Any]:
    here = {variant: _here(card, variant, told) for variant in card.variants or ("",)}
    return {
        "name": card.name,
        "kind": card.kind,
        "judges": "text" if is_text(card.name) else "images",
        "about": card.about,
        "scale": card.scale,
        "variants": list(card.variants),
        "free_variant": card.free_variant,
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
    return (
        f"{found['name']}:{found['free_variant'] or ''}".rstrip(":"),
        f"text {found['kind']}" if found["judges"] == "text" != found["kind"] else found["kind"],
        _word(found["here"]),
        "yes" if found["differentiable"] else "no",
        found["licence"],
        found["parity"].partition(";")[0],
        _first(found["variants"]),
    )


def _first(variants: list[str]) -> str:
    more = f" and {len(variants) - SHOWN} more" if len(variants) > SHOWN else ""
    return ", ".join(variants[:SHOWN]) + more


def _word(here: bool | dict[str, bool | None] | None) -> str:
    if not isinstance(here, dict):
        return {None: "-", True: "yes", False: "no"}[here]
    if len(set(here.values())) == 1:
        return _word(next(iter(here.values())))
    return ", ".join(variant for variant, there in here.items() if there)
