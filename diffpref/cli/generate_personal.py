"""`diffpref generate --profile`: images chosen by somebody's reward, and the four-column grid."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from diffpref import __version__
from diffpref.cli.generate_write import Job, refuse_existing, write_images
from diffpref.cli.personal_options import Asked
from diffpref.cli.progress import progress_bar
from diffpref.errors import UsageError

if TYPE_CHECKING:
    from diffpref.evaluate.compare import Subject
    from diffpref.evaluate.opened import Opened
    from diffpref.rewards import LoadedScorer
    from diffpref.users.profile import UserProfile
    from diffpref.users.vlm.profile import VlmProfile

GRID = "compare.png"


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

    seen = _seen_by_vlm(asked)
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


def _seen_by_vlm(asked: Asked) -> "VlmProfile | None":
    """Read a profile of encoder vlm; None if it is one of another encoder.

    Raises:
        UsageError: it should choose among images, which it cannot.
        DataError: damaged.
    """
    from diffpref.users.vlm.profile import load_vlm_profile

    found = load_vlm_profile(asked.profile)
    if found is None:
        return None
    for name, wanted in {"--rerank": asked.rerank, "--compare": asked.compare}.items():
        if wanted:
            what = "a profile of encoder vlm judges no images and has no population"
            hint = f"leave {name} out, or fit the votes with --encoder bt"
            raise UsageError(what, where=name, hint=hint)
    typer.echo(f"note: {asked.profile.name}: {found.verdict}", err=True)
    return found


def read_person(asked: Asked, near: Path | None) -> "UserProfile":
    """Read the profile and say plainly what it is worth, if that is little.

    Raises:
        DataError: damaged, or of another population.
        UsageError: its population is not found.
    """
    from diffpref.evaluate.personal import read_profile

    found = read_profile(asked.profile, asked.prior, near=near)
    if not found.verdict.startswith("better"):
        typer.echo(f"note: {asked.profile.name}: {found.verdict}", err=True)
    return found


def embedder_for(asked: Asked, profile: "UserProfile") -> "LoadedScorer":
    """Load the scorer a profile reads."""
    from diffpref.cli.profile_options import embedder_of

    return embedder_of(profile.prior, asked.weights_dir, asked.device)


def profile_scorer_of(asked: Asked, profile: "UserProfile") -> "LoadedScorer":
    """Return the profile as a scorer."""
    from diffpref.users.reward import profile_scorer

    return profile_scorer(profile, embedder_for(asked, profile))


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


def write_grid(job: Job, opened: "Opened", asked: Asked, mine: "UserProfile") -> dict[str, object]:
    """Write base, population, mine and somebody else's images as one picture."""
    from diffpref.evaluate.grid import grid
    from diffpref.evaluate.personal import read_profile
    from diffpref.evaluate.side_by_side import COLUMNS, columns_of, draw_columns, facts_of_columns
    from diffpref.evaluate.subject import sampling
    from diffpref.io import png_bytes, write_atomic
    from diffpref.users.somebody import somebody

    seed, n = job.seeds[0], len(job.seeds)
    if "init_lora" in opened.facts:
        typer.echo("note: the column base has the LoRA this run started from", err=True)
    other = somebody(mine, seed)
    if asked.other is not None:
        other = read_profile(asked.other, asked.prior)
    columns = columns_of(
        opened,
        job.settings,
        mine=mine,
        other=other,
        strength=asked.strength,
        rerank=asked.rerank is not None,
    )
    embedder = None if asked.rerank is None else embedder_for(asked, mine)
    with progress_bar("comparing", "images") as tell:
        images = draw_columns(
            opened,
            job.settings,
            columns,
            job.prompts,
            seed=seed,
            n=n,
            pool=asked.rerank or n,
            embedder=embedder,
            on_progress=tell,
        )
    facts = {
        "prompts": "; ".join(job.prompts),
        "seed": str(seed),
        **opened.facts,
        **sampling(opened.bundle, job.settings),
        **facts_of_columns(opened, mine, other, asked.strength, asked.rerank),
        "somebody": f"drawn, seed {seed}" if asked.other is None else "given",
        "diffpref": __version__,
    }
    sheet = grid(images, names=COLUMNS, prompts=job.prompts, seeds=job.seeds)
    path = job.out / GRID
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, png_bytes(sheet, facts))
    return {"file": str(path), "columns": list(COLUMNS), "prompts": job.prompts, "seed": seed}
