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
        authors: "Surname, Given" each; empty where the source does not say.
        arxiv: the identifier, such as 2311.12908; empty for a paper that is not there.
        link: where such a paper, or its code, is.
        subject: the primary arXiv class, or the class it would have.
    """

    title: str
    authors: tuple[str, ...]
    year: int
    arxiv: str = ""
    link: str = ""
    subject: str

    @property
    def url(self) -> str:
        return f"https://arxiv.org/abs/{self.arxiv}" if self.arxiv else self.link

    @property
    def short(self) -> str:
        """First author and year, as in a table."""
        surnames = [author.split(",")[0] for author in self.authors]
        if len(surnames) > 2:
            surnames = [f"{surnames[0]} et al."]
        return f"{' and '.join(surnames) or self.title.split(':')[0]} {self.year}"

    @property
    def bibtex(self) -> str:
        """The BibTeX entry; its key is first author, year and first word of the title."""
        surname = self.authors[0].split(",")[0] if self.authors else ""
        word = self.title.split()[0].strip(":")
        key = f"{surname}{self.year}{word}".lower().replace(" ", "")
        fields = {
            "title": "{" + self.title + "}",
            "author": " and ".join(self.authors),
            "year": str(self.year),
            "eprint": self.arxiv,
            "archivePrefix": "arXiv" if self.arxiv else "",
            "primaryClass": self.subject if self.arxiv else "",
            "url": self.link,
        }
        lines = ",\n".join(f"  {name} = {{{value}}}" for name, value in fields.items() if value)
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
        users: whether it needs rows that say whose choice they are.
    """

    build: Callable[..., AnyObjective]
    paper: Paper
    summary: str
    status: Status
    reference: Literal["needed", "optional", "refused"]
    data: Unit | Literal["prompts"]
    users: bool = False
