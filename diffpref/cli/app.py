"""What every verb shares: its typer app and how it writes to stdout."""

import json
from collections.abc import Iterable, Sequence

import typer


def verb_app(about: str, *, no_args_is_help: bool = False) -> typer.Typer:
    """Return the empty app of one verb; `diffpref.cli.main` reports its errors.

    `no_args_is_help` suits a verb that needs a word more, such as `config list`.
    """
    return typer.Typer(
        help=about,
        add_completion=False,
        no_args_is_help=no_args_is_help,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["--help", "-h"]},
    )


def write_json(value: object) -> None:
    """Write one JSON document to stdout."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def write_columns(rows: Iterable[Sequence[str]]) -> None:
    """Write rows to stdout as left-justified columns, two spaces apart."""
    table = list(rows)
    if not table:
        return
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        typer.echo("  ".join(cells).rstrip())
