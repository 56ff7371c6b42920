"""Where the images that `diffpref label pairs` scores come from: data, a folder, or a model."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from diffpref import __version__
from diffpref.cli import sample_options as sampling
from diffpref.cli.progress import progress_bar
from diffpref.cli.score_troubles import tell_left_out
from diffpref.errors import UsageError

if TYPE_CHECKING:
    from diffpref.data.readers import RecordSource
    from diffpref.models.sample import SampleSettings

SAMPLES = "samples"
"""Folder below --out for images that --from-model makes."""

PROMPTS = (
    "say where the prompts are: --prompts-from filename, csv, jsonl, or a .csv or .jsonl FILE with "
    "the columns file and prompt"
)
"""What to do where an image has no prompt."""


@dataclass(frozen=True, kw_only=True)
class FromModel:
    """What to make images with, and of what."""

    model: str
    prompts: str | None
    limit: int | None
    images_per_prompt: int
    seed: int
    device: str
    dtype: str | None
    settings: "SampleSettings"

    def records(self, out: Path) -> "tuple[RecordSource, Mapping[str, str]]":
        """Make the images below `out`; return them as a source, and how they were made.

        Raises:
            DataError: other images are there already.
        """
        from diffpref.data.loose import loose_source
        from diffpref.evaluate.candidates import make_candidates
        from diffpref.evaluate.prompts import read_prompts
        from diffpref.evaluate.subject import open_model
        from diffpref.evaluate.subject import sampling as told

        prompts = list(dict.fromkeys(read_prompts(str(self.prompts), limit=self.limit)))
        seeds = list(range(self.seed, self.seed + self.images_per_prompt))
        opened = open_model(self.model, place=sampling.place_of(self.device, self.dtype))
        with progress_bar("generating", "images") as tell:
            files = make_candidates(
                opened,
                self.settings,
                prompts,
                seeds,
                out / SAMPLES,
                version=__version__,
                progress=tell,
            )
        asked = [prompt for prompt in prompts for _ in seeds]
        facts = {**opened.facts, **told(opened.bundle, self.settings)}
        return loose_source(opened.name, files, asked), facts


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What the command line says of the images: data, a folder of images, or a model."""

    source: str | None
    format: str | None
    split: str
    prompts_from: str | None
    model: FromModel | None

    def check(self) -> None:
        """Refuse neither or both of a source and a model.

        Raises:
            UsageError: one too many or too few.
        """
        if (self.source is None) == (self.model is None):
            hint = "name data or a folder of images, or make images with --from-model"
            what = "no images are named" if self.source is None else "give SOURCE or --from-model"
            raise UsageError(what, where="label pairs", hint=hint)
        if self.model is not None and self.model.prompts is None:
            hint = "for example --prompts builtin:prompts/train"
            raise UsageError("names no prompts", where="--from-model", hint=hint)

    @property
    def loose(self) -> bool:
        """Whether nobody gave an opinion of the images yet."""
        from diffpref.assets import resolve
        from diffpref.data.readers import READERS
        from diffpref.evaluate.asked import ENDINGS

        if self.source is None or self.prompts_from is not None:
            return True
        place = Path(resolve(self.source))
        if self.format is not None or not place.is_dir():
            return False
        known = any(reader.knows(str(place)) for reader in READERS.values())
        return not known and any(each.suffix.lower() in ENDINGS for each in place.iterdir())

    def records(self, out: Path) -> "tuple[RecordSource, Mapping[str, str]]":
        """Return the images as a source, made first if need be, and how they were made."""
        from diffpref.data.loose import loose_source
        from diffpref.data.readers import open_records
        from diffpref.evaluate.asked import asked_of, image_files

        if self.model is not None:
            return self.model.records(out)
        source = str(self.source)
        if not self.loose:
            return open_records(source, format=self.format, split=self.split), {}
        files = image_files([Path(source)])
        tell_left_out([Path(source)])
        asked = asked_of(files, source=self.prompts_from, hint=PROMPTS)
        return loose_source(source, files, asked), {}
