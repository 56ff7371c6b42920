"""docs/method-reference.md: equation, departures, hyper-parameters and BibTeX of every method."""

from typing import Any

from diffpref.catalogue import describe
from diffpref.methods import METHODS
from scripts.pages.costs import cost

HEAD = """\
# Method reference

What `diffpref methods show NAME` prints, for all of them: equation, departures from the paper and
from the released code, hyper-parameters with their defaults, cost, and the BibTeX entry that
`diffpref methods cite NAME` prints. The table with status, cost and our own results is in
[Methods](methods.md).

This page is written by `python -m scripts.write_pages` from the methods' own files; a test keeps
it current.
"""


def page() -> str:
    """Return the page."""
    return "\n".join([HEAD, *map(_entry, METHODS)])


def _entry(name: str) -> str:
    found: Any = describe(name)
    asked: Any = cost(name)
    knobs = ", ".join(f"`{key}` = {value}" for key, value in found["parameters"].items())
    return "\n".join(
        [
            f"## `{name}`",
            "",
            f"{found['summary'][0].upper()}{found['summary'][1:]}. Status: {found['status']}.",
            f"[{found['paper']['title']}]({found['paper']['url']}).",
            "",
            "```text",
            found["equation"],
            "```",
            "",
            f"Hyper-parameters: {knobs}.",
            "",
            f"Cost: {asked['forwards']:g} forward passes per {asked['per']} "
            f"({asked['without_gradient']:g} images without gradient, "
            f"{asked['with_gradient']:g} with).",
            "",
            "```bibtex",
            found["bibtex"],
            "```",
            "",
        ]
    )
