"""The four-column grid: base, population, mine and somebody else's images."""

from typing import TYPE_CHECKING

import typer

from diffpref import __version__
from diffpref.cli.generate_write import Job
from diffpref.cli.personal_options import Asked
from diffpref.cli.personal_read import embedder_for
from diffpref.cli.progress import progress_bar

if TYPE_CHECKING:
    from diffpref.evaluate.opened import Opened
    from diffpref.users.profile import UserProfile


GRID = "compare.png"


def _facts(job: Job, opened: "Opened", asked: Asked) -> dict[str, str]:
    """Say how the pictures were made, whoever they are for."""
    from diffpref.evaluate.subject import sampling

    seed = job.seeds[0]
    return {
        "prompts": "; ".join(job.prompts),
        "seed": str(seed),
        **opened.facts,
        **sampling(opened.bundle, job.settings),
        "somebody": f"drawn, seed {seed}" if asked.other is None else "given",
        "diffpref": __version__,
    }


def write_grid(job: Job, opened: "Opened", asked: Asked, mine: "UserProfile") -> dict[str, object]:
    """Write base, population, mine and somebody else's images as one picture."""
    from diffpref.evaluate.grid import grid
    from diffpref.evaluate.personal import read_profile
    from diffpref.evaluate.side_by_side import COLUMNS, columns_of, draw_columns, facts_of_columns
    from diffpref.io import png_bytes, write_atomic
    from diffpref.users.somebody import somebody

    seed, n = job.seeds[0], len(job.seeds)
    if "init_lora" in opened.facts:
        typer.echo("note: the column base has the LoRA this run started from", err=True)
    other = somebody(mine, seed) if asked.other is None else read_profile(asked.other, asked.prior)
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
        **_facts(job, opened, asked),
        **facts_of_columns(opened, mine, other, asked.strength, asked.rerank),
    }
    sheet = grid(images, names=COLUMNS, prompts=job.prompts, seeds=job.seeds)
    path = job.out / GRID
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, png_bytes(sheet, facts))
    return {"file": str(path), "columns": list(COLUMNS), "prompts": job.prompts, "seed": seed}
