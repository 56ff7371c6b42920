"""One-file HTML pages: everything put into a template is escaped, and a missing value an error."""

from base64 import b64encode
from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

STYLE = "report.css"
_FOLDER = Path(__file__).resolve().parent


def render_page(template: str, values: Mapping[str, object]) -> str:
    """Return a page of the shared style, which its own policy allows by hash, and nothing else."""
    style = (_FOLDER / STYLE).read_text(encoding="utf-8")
    digest = b64encode(sha256(style.encode()).digest()).decode("ascii")
    return _template(template).render({**values, "style": Markup(style), "style_hash": digest})


@cache
def _template(name: str) -> Any:
    found = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return found.get_template(name)
