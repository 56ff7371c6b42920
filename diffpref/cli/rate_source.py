"""What `diffpref rate` puts side by side: a folder, data, a model's pictures, or two models."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from diffpref.cli import sample_options as sampling
from diffpref.errors import UsageError

if TYPE_CHECKING:
    from diffpref.evaluate.opened import Opened, Place
    from diffpref.models.sample_settings import SampleSettings
    from diffpref.rate.pair import Pair
    from diffpref.rate.pool import Pool
    from diffpref.rate.studio import Turn
    from diffpref.rate.study import Study

PROMPTS = "builtin:prompts/test"
LIMIT = 24
BASE = "builtin:base"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the command line says of the pictures."""

    source: str | None
    generate: bool
    compare: tuple[str, str] | None
    model: str | None
    prompts: str | None
    limit: int | None
    images_per_prompt: int
    seeds: Sequence[int]
    seed: int
    format: str | None
    part: str
    prompt: str | None
    prompts_from: str | None
    device: str
    dtype: str | None
    settings: "SampleSettings"

    def check(self) -> None:
        """Refuse none or several of the ways to say what is rated.

        Raises:
            UsageError: names what fits.
        """
        ways = (self.source is not None, self.generate, self.compare is not None)
        if sum(ways) != 1:
            what = "say what to rate" if not any(ways) else "one thing at a time"
            hint = "diffpref rate FOLDER, or --generate, or --compare A B"
            raise UsageError(what, where="rate", hint=hint)
        if self.compare is not None and self.model is not None:
            hint = "leave --model out: --compare names both models"
            raise UsageError("has no place in a study", where="--model", hint=hint)
        makes = self.generate or self.compare is not None
        if not makes and self.prompts is not None:
            hint = "--prompt or --prompts-from says what the pictures of a folder show"
            raise UsageError("is for --generate and --compare", where="--prompts", hint=hint)

    def opened(self) -> "Opened | None":
        """Load the model that makes pictures, if one is asked for."""
        from diffpref.evaluate.subject import open_model

        if self.model is None and not self.generate:
            return None
        return open_model(self.model or BASE, place=self._place())

    def study(self) -> "Study | None":
        """Load the two models of a study, if one is asked for."""
        from diffpref.evaluate.subject import open_model
        from diffpref.rate.study import Study

        if self.compare is None:
            return None
        a, b = (open_model(each, place=self._place()) for each in self.compare)
        return Study(a=a, b=b, prompts=self._prompts(), seeds=self.seeds, settings=self.settings)

    def fill(self, pool: "Pool", out: Path, opened: "Opened | None", lock: "Turn") -> None:
        """Put the pairs of a folder, of data or of a model into the pool."""
        from diffpref.rate.pool import shuffled
        from diffpref.rate.studio import made_pairs

        if self.source is not None:
            pool.add(shuffled(self._there(self.source), seed=self.seed))
        elif opened is not None:
            seeds = list(range(self.seed, self.seed + self.images_per_prompt))
            how = (opened, self.settings, self._prompts(), seeds, out)
            pool.grow(made_pairs(*how, lock=lock, halted=pool.halted))

    def _there(self, source: str) -> "list[Pair]":
        from diffpref.assets import resolve
        from diffpref.data.readers import READERS
        from diffpref.evaluate.asked import ENDINGS, asked_of, image_files
        from diffpref.rate.sources import folder_pairs, record_pairs

        place = Path(resolve(source))
        loose = self.prompt is not None or self.prompts_from is not None
        if place.is_dir() and not loose and self.format is None:
            known = any(reader.knows(str(place)) for reader in READERS.values())
            loose = not known and any(each.suffix.lower() in ENDINGS for each in place.iterdir())
        if not loose:
            return record_pairs(source, format=self.format, split=self.part, limit=self.limit)
        files = image_files([place])
        texts = asked_of(files, prompt=self.prompt, source=self.prompts_from)
        pairs = folder_pairs(files, dict(zip(files, texts, strict=True)), seed=self.seed)
        return pairs[: self.limit]

    def _prompts(self) -> list[str]:
        from diffpref.evaluate.prompts import read_prompts
        from diffpref.rate.studio import different

        return different(read_prompts(self.prompts or PROMPTS, limit=self.limit or LIMIT))

    def _place(self) -> "Place":
        return sampling.place_of(self.device, self.dtype)
