"""`diffpref doctor --fit`: which card a configuration fits, and what would make it fit."""

from typing import Any

import typer

from diffpref.cli.app import write_columns, write_json
from diffpref.cli.progress import progress_bar

COLUMNS = ("weights", "gradients", "optimizer", "activations")


def tell_fit(given: str, overrides: list[str], *, json: bool) -> None:
    """Count a configuration and its smaller forms, and say what they fit.

    Raises:
        ConfigError: the configuration is not sound, or its base's shapes are not known.
        HubError: the base's configs are out of reach.
    """
    from diffpref.assets import find_config
    from diffpref.config import load_config
    from diffpref.run.fit import CARDS, GIB, OVERHEAD, Fit, fits
    from diffpref.run.fit_changes import changes_of

    config = load_config(find_config(given), overrides)
    found: list[Fit] = []
    with progress_bar("counting") as tell:
        for number, each in enumerate(fits(config), start=1):
            found.append(each)
            tell(number, len(changes_of(config)) + 1)
    rows = [_plain(each, GIB) for each in found]
    if json:
        write_json({"config": given, "overhead_gib": OVERHEAD / GIB, "forms": rows})
        return
    write_columns([("", "GiB", *COLUMNS, "fits", "arithmetic"), *map(_row, rows)])
    typer.echo("")
    write_columns([(f"{card} GiB", _best(card, found)) for card in CARDS])
    typer.echo(
        f"\nCounted on shapes, with {OVERHEAD / GIB:g} GiB assumed for the device's context and "
        "kernels' work space; a decoder, a reward or a feature network comes on top."
    )


def _plain(each: Any, gib: int) -> dict[str, Any]:
    parts = {name: round(getattr(each.footprint, name) / gib, 2) for name in COLUMNS}
    total = round(each.total / gib, 2)
    return {
        "what": each.what,
        "gib": total,
        **parts,
        "card": each.card,
        "work": each.work,
        "faithful": each.faithful,
    }


def _row(row: dict[str, Any]) -> tuple[str, ...]:
    card = "none" if row["card"] is None else f"{row['card']} GiB"
    parts = (f"{row[name]:.2f}" for name in COLUMNS)
    return row["what"], f"{row['gib']:.2f}", *parts, card, f"x{row['work']:.2f}"


def _best(card: int, found: list[Any]) -> str:
    """Return the form of least arithmetic that a card holds; of the same recipe if there is one."""
    fitting = [each for each in found if each.card is not None and each.card <= card]
    if not fitting:
        return "nothing of this; a LoRA of the same model needs less"
    own = next((each for each in fitting if each is found[0]), None)
    best = min(fitting, key=lambda each: (not each.faithful, each.work))
    return own.what if own is not None and own.work <= best.work else best.what
