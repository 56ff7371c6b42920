"""How `diffpref generate` writes the images of a model."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from diffpref import __version__
from diffpref.cli.progress import progress_bar
from diffpref.errors import UsageError

if TYPE_CHECKING:
    from diffpref.evaluate.benchmarks.benchmark import Item, Layout
    from diffpref.evaluate.benchmarks.export import Exporter
    from diffpref.evaluate.compare import Subject
    from diffpref.evaluate.opened import Opened
    from diffpref.models.sample_settings import SampleSettings


@dataclass(frozen=True, kw_only=True)
class Job:
    """What to make, how, and where it goes."""

    items: "Sequence[Item]"
    layout: "Layout"
    settings: "SampleSettings"
    seeds: Sequence[int]
    out: Path
    force: bool

    @property
    def prompts(self) -> list[str]:
        return [item.prompt for item in self.items]

    def exporter(self) -> "Exporter":
        """Return what writes the images; refuses files that exist."""
        from diffpref.evaluate.benchmarks.export import Exporter, image_paths

        n = len(self.seeds)
        paths = image_paths(self.layout, self.items, n, self.out)
        refuse_existing([path for each in paths for path in each], self.force)
        return Exporter(layout=self.layout, items=self.items, n=n, root=self.out, paths=paths)

    def at_once(self, opened: "Opened") -> int:
        """Return how many images are made together."""
        from diffpref.models.sample_settings import image_size, images_at_once

        return images_at_once(self.settings, *image_size(opened.bundle, self.settings))


def write_plain(job: Job, opened: "Callable[[], Opened]") -> Iterator[dict[str, object]]:
    """Write a model's images of every prompt and seed."""
    from diffpref.evaluate.subject import subject_of

    exporter = job.exporter()
    model = opened()
    subject = subject_of(model, job.settings)
    yield from write_images(subject, exporter, job.seeds, job.at_once(model))


def refuse_existing(targets: Sequence[Path], force: bool) -> None:
    """Refuse to replace files unless told to."""
    there = [path for path in targets if path.exists()]
    if there and not force:
        more = f" and {len(there) - 1} more" if len(there) > 1 else ""
        hint = "choose another --out or --seed, or add --force"
        raise UsageError(f"exists already{more}", where=str(there[0]), hint=hint)


def write_images(
    subject: "Subject", exporter: "Exporter", seeds: Sequence[int], size: int
) -> Iterator[dict[str, object]]:
    """Sample in batches of `size` and write each image as soon as it is there."""
    from diffpref.evaluate.pictures import to_bytes, to_picture

    facts = {**subject.facts, "diffpref": __version__}
    prompts = [item.prompt for item in exporter.items]
    total, done = len(prompts) * len(seeds), 0
    with progress_bar("generating", "images") as tell:
        tell(0, total)
        for k, part in _parts(len(prompts), len(seeds), size, joined=exporter.layout.join):
            images = subject.sample(
                [prompts[p] for p in part],
                seed=seeds[k],
                positions=part,
                on_progress=lambda some, _, before=done: tell(before + some, total),
            )
            for p, image in zip(part, images, strict=True):
                told = {"prompt": prompts[p], "seed": str(seeds[k]), "position": str(p), **facts}
                path = exporter.put(p, k, to_picture(to_bytes(image)), told)
                if path is not None:
                    yield {"file": str(path), "prompt": prompts[p], "seed": seeds[k]}
            done += len(part)


def _parts(prompts: int, seeds: int, size: int, *, joined: object) -> Iterator[tuple[int, range]]:
    """Yield (number of the seed, prompts), seed by seed; where images are joined, all of a prompt.

    Joined images wait in memory for the others of their prompt, so these must come soon.
    """
    chunks = [range(start, min(start + size, prompts)) for start in range(0, prompts, size)]
    if joined is None:
        yield from ((k, part) for k in range(seeds) for part in chunks)
    else:
        yield from ((k, part) for part in chunks for k in range(seeds))
