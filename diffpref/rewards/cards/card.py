"""What is known about a scorer before anything of it is loaded; imports no library."""

from dataclasses import dataclass
from typing import Literal

from diffpref.errors import UsageError, nearest

Kind = Literal["image-text", "fusion", "image", "pairwise", "text"]
"""image-text: two towers whose embeddings meet in a product; fusion: image and prompt together;
image: the prompt is ignored; pairwise: compares only; text: scores text."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """Weights a scorer needs: a file, or a folder with its config.

    Attributes:
        name: what it is of the scorer: model, head, backbone, language.
        files: names it is published under; any other name is accepted, keys decide.
        repo: hub id it is published under, if it is.
        origin: where a person finds it.
        gigabytes: size of the download, roughly.
        licence: of the weights.
        parameters: how many numbers the published model has; None if that is not checked.
        unread: beginnings of names that are stored with it but no part of it.
        folder: configs and tokenizers beside the weights are needed too.
        variant: the only variant that needs it; None for all.
    """

    name: str = "model"
    files: tuple[str, ...]
    repo: str | None = None
    origin: str
    gigabytes: float
    licence: str
    parameters: int | None = None
    unread: tuple[str, ...] = ()
    folder: bool = False
    variant: str | None = None


@dataclass(frozen=True, kw_only=True)
class Card:
    """A scorer on paper. Higher scores are better.

    Attributes:
        factory: `module:function` that loads it from `LoadOptions`.
        about: one line for a list.
        scale: what the number is.
        range_hint: where it usually lies.
        variants: names after the colon; the first is the default.
        free_variant: what stands after the colon instead of one of a list, such as FILE.
        needs: what it cannot do without, if that is no weights: an address, or somebody's file.
        parts: weights; empty for scorers without, or bundled ones.
        temperature: softmax(score / temperature) over images of one prompt is the choice.
        source: paper and released code the implementation follows.
        parity: what the implementation was compared with, in the words of docs/scorers.md.
    """

    name: str
    factory: str
    kind: Kind
    about: str
    scale: str
    range_hint: tuple[float, float]
    licence: str
    differentiable: bool
    needs_prompt: bool = True
    temperature: float = 1.0
    variants: tuple[str, ...] = ()
    free_variant: str = ""
    needs: str = ""
    parts: tuple[Part, ...] = ()
    source: str
    parity: str

    def variant(self, asked: str) -> str:
        """Return the variant asked for, or the default for an empty one.

        Raises:
            UsageError: the scorer has no such variant.
        """
        if not asked:
            return self.variants[0] if self.variants else ""
        if self.free_variant:
            return asked
        if asked not in self.variants:
            what = f"{self.name} has no variant '{asked}'"
            hint = nearest(asked, self.variants) if self.variants else f"write {self.name}"
            raise UsageError(what, where=f"scorer {self.name}:{asked}", hint=hint)
        return asked

    def part(self, name: str) -> Part:
        """Return the part of a name."""
        return next(part for part in self.parts if part.name == name)

    def needed(self, variant: str) -> tuple[Part, ...]:
        """Return the parts a variant needs."""
        return tuple(part for part in self.parts if part.variant in (None, variant))
