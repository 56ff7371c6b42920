"""Write the generated pages of docs/; a test holds them to what this writes.

python -m scripts.write_pages
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from diffpref.io import write_atomic
from scripts.bench import cpu_page
from scripts.pages import api, configuration, method_reference, method_tables, scaling

DOCS = Path(__file__).resolve().parent.parent / "docs"

PAGES: Mapping[str, Callable[[], str]] = {
    "configuration.md": configuration.page,
    "api.md": api.page,
    "method-reference.md": method_reference.page,
    "methods.md": lambda: method_tables.filled((DOCS / "methods.md").read_text(encoding="utf-8")),
    "scaling.md": scaling.page,
    "benchmarks/cpu-step.md": cpu_page.page,
}
"""Page -> what it must hold."""


def main() -> None:
    for name, write in PAGES.items():
        write_atomic(DOCS / name, write())


if __name__ == "__main__":
    main()
