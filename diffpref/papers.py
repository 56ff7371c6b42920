"""Where a method comes from: its paper, how well it is checked, what it needs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from diffpref.types import AnyObjective, Unit

Status = Literal["untested", "equation", "parity", "reproduced"]
"""How far a method is checked: not at all; against its equation in float64; against numbers
recorded from the released code's mathematics; by repeating a published result."""


@dataclass(frozen=True, kw_only=True)
class Paper:
    """A publication, enough of it to cite.

    Attributes:
        authors: "Surname, Given" each.
        arxiv: the identifier, such as 2311.12908.
        subject: the primary arXiv class.
    """

    title: str
    authors: tuple[str, ...]
    year: int
    arxiv: str
    subject: str

    @property
    def url(self) -> str:
        return f"https://arxiv.org/abs/{self.arxiv}"

    @property
    def bibtex(self) -> str:
        """The BibTeX entry; its key is first author, year and first word of the title."""
        surname = self.authors[0].split(",")[0]
        key = f"{surname}{self.year}{self.title.split()[0]}".lower()
        fields = {
            "title": "{" + self.title + "}",
            "author": " and ".join(self.authors),
            "year": str(self.year),
            "eprint": self.arxiv,
            "archivePrefix": "arXiv",
            "primaryClass": self.subject,
        }
        lines = ",\n".join(f"  {name} = {{{value}}}" for name, value in fields.items())
        return f"@misc{{{key},\n{lines}\n}}"


@dataclass(frozen=True, kw_only=True)
class Method:
    """A row of METHODS.

    Attributes:
        build: (toolkit, *, hyper-parameters with defaults) -> objective. Its module's docstring
            holds the equation and the departures from the paper.
        summary: one line for a list.
        status: how far it is checked.
        reference: whether it needs a reference network, may have one (to report drift), or
            refuses one.
        data: the data unit it learns from.
    """

    build: Callable[..., AnyObjective]
    paper: Paper
    summary: str
    status: Status
    reference: Literal["needed", "optional", "refused"]
    data: Unit | Literal["prompts"]
