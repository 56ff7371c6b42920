"""docs/errors.md: every exit code and every reason code, its cause and its remedy.

Written from the catalogue alone and compared by a test: `python -m scripts.errors_page`.
"""

from collections.abc import Iterable
from pathlib import Path

from diffpref.cli.exit_codes import EXIT_CODES
from diffpref.data.records import HARMLESS, RowCode
from diffpref.io.codes import ImageCode, PathCode, TextCode
from diffpref.io.remedies import REMEDIES
from scripts.cli_options import options

PAGE = Path(__file__).parents[1] / "docs" / "errors.md"

HEAD = """# Errors, exit codes and codes of bad rows

This page is generated from the code by `python -m scripts.errors_page`; a test keeps it current.

An error has three parts: where (a key of the configuration, an option, or `file:line`), what is
wrong, and one thing to do next. It goes to stderr; stdout stays empty.

    $ diffpref train shapes/dpo loop.stepz=50
    diffpref: error: loop.stepz (on the command line): there is no such key
      did you mean 'steps'?
    $ echo $?
    3

- `--debug`, with any verb, adds the traceback. Without it there is none.
- stdout holds the result and stderr the messages: `diffpref methods --json > methods.json`.
- When stderr is no terminal, bars become plain lines without escape codes, one every ten seconds
  and one at the end.
"""

ROWS = """
## Codes of rows, lines, paths and images

A row that cannot be used is left out, counted, and written with its code to `bad_rows.jsonl` of
the run; `diffpref data inspect` shows it too. `data.on_bad_row: error` stops at the first one, and
a run stops with exit code 4 when more than `data.max_bad_fraction` of the rows are bad. The codes
never change; new ones may be added.
"""


def page() -> str:
    """Return the page."""
    exits = [(f"`{n}`", each.cause, each.remedy) for n, each in EXIT_CODES.items()]
    doors = [(code, code.meaning, REMEDIES[code]) for code in (*TextCode, *PathCode, *ImageCode)]
    rows = [(f"`{code}`", _row_cause(code), code.remedy) for code in RowCode]
    coded = [*rows, *((f"`{code}`", cause, remedy) for code, cause, remedy in doors)]
    return "\n".join(
        [
            HEAD.rstrip("\n"),
            "\n## Exit codes\n",
            *_table(("exit code", "cause", "what to do"), exits),
            ROWS,
            *_table(("code", "cause", "what to do"), coded),
            "\n## Machine-readable results\n",
            "These commands take `--json` and then write one JSON document to stdout:",
            "",
            *(f"- `diffpref {name}`" for name, words in options().items() if "--json" in words),
            "",
        ]
    )


def _row_cause(code: RowCode) -> str:
    return f"{code.meaning}{' (never counted as bad)' if code.value in HARMLESS else ''}"


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    cells = [tuple(head), *map(tuple, rows)]
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in cells]
    return [lines[0], "|" + "---|" * len(cells[0]), *lines[1:]]


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
