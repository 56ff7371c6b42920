"""`diffpref generate --profile`: images chosen by somebody's reward, and the four-column grid."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from diffpref import __version__
from diffpref.cli.generate_grid import GRID, write_grid
from diffpref.cli.generate_write import Job, refuse_existing, write_images
from diffpref.cli.personal_options import Asked
from diffpref.cli.personal_read import profile_scorer_of, read_person, seen_by_vlm
from diffpref.cli.progress import progress_bar

if TYPE_CHECKING:
    from diffpref.evaluate.compare import Subject
    from diffpref.evaluate.opened import Opened
    from diffpref.rewards import LoadedScorer
    from diffpref.users.profile import UserProfile


def write_personal(
    job: Job, opened: "Callable[[], Opened]", asked: Asked, *, near: Path | None
) -> list[dict[str, object]]:
    """Write somebody's images: told to an adapter, re-ranked, both, or as one grid.

    Args:
        job: what to make.
        opened: opens the model.
        asked: whose, and how.
        near: a run that may keep the profile's population.

    Returns:
        What `--json` prints.

    Raises:
        UsageError: nothing would differ from nobody's images, or files exist.
        DataError: the profile is damaged, or of another population.
    """
    from diffpref.evaluate.personal import knows_users, personal_subject

    seen = seen_by_vlm(asked)
    if seen is not None:
        exporter, model = job.exporter(), opened()
        subject = personal_subject(model, job.settings, seen, asked.strength)
        return list(write_images(subject, exporter, job.seeds, job.at_once(model)))
    profile = read_person(asked, near)
    if asked.compare:
        refuse_existing([job.out / GRID], job.force)
        return [write_grid(job, opened(), asked, profile)]
    if asked.rerank is None:
        exporter = job.exporter()
        model = opened()
        subject = personal_subject(model, job.settings, profile, asked.strength)
        return list(write_images(subject, exporter, job.seeds, job.at_once(model)))
    paths = reranked_paths(len(job.items), len(job.seeds), job.out)
    refuse_existing([path for each in paths for path in each], job.force)
    judge = profile_scorer_of(asked, profile)
    model = opened()
    told = profile if knows_users(model) else None
    subject = personal_subject(model, job.settings, told, asked.strength)
    found = write_best(
        job,
        subject,
        judge,
        profile=profile,
        paths=paths,
        pool=asked.rerank,
        size=job.at_once(model),
    )
    return list(found)


def reranked_paths(prompts: int, keep: int, out: Path) -> list[list[Path]]:
    """Return the files of every prompt's kept images: 0012-best1.png is the best of prompt 12."""
    return [
        [out / f"{number:04d}-best{place + 1}.png" for place in range(keep)]
        for number in range(prompts)
    ]


def write_best(
    job: Job,
    subject: "Subject",
    judge: "LoadedScorer",
    *,
    profile: "UserProfile",
    paths: Sequence[Sequence[Path]],
    pool: int,
    size: int,
) -> Iterator[dict[str, object]]:
    """Make `pool` images of each prompt and write those the profile's reward likes most."""
    from diffpref.evaluate.pictures import png
    from diffpref.evaluate.rerank import best_of
    from diffpref.io import write_atomic

    facts = {**subject.facts, "profile": profile.sha256, "rerank": str(pool)}
    keep, seed = len(job.seeds), job.seeds[0]
    job.out.mkdir(parents=True, exist_ok=True)
    with progress_bar("generating", "images") as tell:
        found = best_of(
            subject, judge, job.prompts, seed=seed, n=pool, keep=keep, chunk=size, on_progress=tell
        )
        for p, row in enumerate(found):
            for each, path in zip(row, paths[p], strict=True):
                told = {
                    "prompt": job.prompts[p],
                    "seed": str(each.seed),
                    "position": str(p),
                    "reward": f"{each.reward:.4f}",
                    **facts,
                    "diffpref": __version__,
                }
                write_atomic(path, png(each.pixels, told))
                yield {
                    "file": str(path),
                    "prompt": job.prompts[p],
                    "seed": each.seed,
                    "reward": each.reward,
                }
