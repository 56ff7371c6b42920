"""The options of every verb that loads scorers of published weights, declared once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from diffpref.errors import UsageError

if TYPE_CHECKING:
    from diffpref.rewards import LoadedScorer
    from diffpref.rewards.text import LoadedTextScorer

Name = Annotated[
    str, typer.Argument(metavar="SCORER", help="A name that `scorers list` shows, :variant too.")
]
WeightsDir = Annotated[
    Path | None, typer.Option("--weights-dir", help="The folder to look for weights in first.")
]
Weights = Annotated[
    list[str] | None,
    typer.Option(
        "--weights",
        metavar="SCORER[.PART]=PATH",
        help="A file or folder instead of a scorer's own; may be repeated.",
    ),
]
AnySize = Annotated[
    bool, typer.Option("--any-size", help="Accept weights of another size than the published.")
]
Prompt = Annotated[str | None, typer.Option("--prompt", help="The prompt of all images.")]
PromptsFrom = Annotated[
    str | None,
    typer.Option(
        "--prompts-from",
        metavar="filename|png-metadata|csv|jsonl|FILE",
        help="Where each image's prompt is: its name; the text in its PNG (the default); a table "
        "with columns file and prompt, beside the image or named.",
    ),
]
Dtype = Annotated[
    Literal["fp32", "bf16", "fp16"],
    typer.Option("--dtype", help="Precision of the scorers' networks; scores are float32."),
]


def weights_of(told: Sequence[str] | None, names: Sequence[str]) -> dict[str, dict[str, str] | str]:
    """Return the paths given for each scorer, by part where parts are named.

    Raises:
        UsageError: not SCORER=PATH, or a scorer that is not asked for.
    """
    plain = {name.partition(":")[0] for name in names}
    found: dict[str, dict[str, str] | str] = {}
    for each in told or ():
        who, equals, path = each.partition("=")
        # A scorer's name may hold a dot, as hpsv2.1 does.
        name = next((n for n in sorted(plain, reverse=True) if who == n or _of(n, who)), None)
        if not (equals and path) or name is None:
            hint = f"write for example --weights {min(plain)}=FILE; asked for: {', '.join(names)}"
            raise UsageError("is not SCORER=PATH", where=f"--weights {each}", hint=hint)
        _put(found, name, who.removeprefix(name).removeprefix("."), path)
    return found


@dataclass(frozen=True, kw_only=True)
class Loading:
    """How a verb's scorers are loaded; `weights` is each scorer's own, as `weights_of` gives it."""

    device: str
    weights: Mapping[str, dict[str, str] | str] = field(default_factory=dict)
    weights_dir: Path | None = None
    dtype: str = "fp32"
    any_size: bool = False

    def image_scorer(self, name: str) -> "LoadedScorer":
        """Load a scorer of images."""
        from diffpref.rewards import load_scorer

        return load_scorer(name, **self._told(name))

    def text_scorer(self, name: str) -> "LoadedTextScorer":
        """Load a scorer of text."""
        from diffpref.rewards.text import load_text_scorer

        return load_text_scorer(name, **self._told(name))

    def _told(self, name: str) -> dict[str, Any]:
        return {
            "weights": self.weights.get(name.partition(":")[0]),
            "weights_dir": self.weights_dir,
            "device": self.device,
            "dtype": self.dtype,
            "published": not self.any_size,
        }


def load_scorers(
    names: Sequence[str],
    device: str,
    *,
    weights: Sequence[str] | None = None,
    weights_dir: Path | None = None,
    dtype: str = "fp32",
    any_size: bool = False,
) -> "list[LoadedScorer]":
    """Load scorers before anything else is done, so that a wrong name costs no time."""
    how = Loading(
        device=device,
        weights=weights_of(weights, names),
        weights_dir=weights_dir,
        dtype=dtype,
        any_size=any_size,
    )
    return [how.image_scorer(name) for name in names]


def _of(name: str, who: str) -> bool:
    return who.startswith(f"{name}.")


def _put(found: dict[str, dict[str, str] | str], name: str, part: str, path: str) -> None:
    held = found.get(name)
    if part and held is None:
        found[name] = {part: path}
    elif part and isinstance(held, dict):
        held[part] = path
    elif held is None:
        found[name] = path
    else:
        hint = f"give {name} once, or every part by name"
        raise UsageError("is given twice", where=f"--weights {name}", hint=hint)
