"""`diffpref train-reward --head bt-prior`: how tastes are spread over the people who voted."""

from pathlib import Path

import typer

from diffpref.cli.app import write_json
from diffpref.cli.progress import progress_bars


def learn(
    source: str,
    out: Path,
    embedder: str,
    device: str,
    *,
    cache: Path,
    format: str | None,
    rows: int | None,
    json: bool,
) -> None:
    """Learn a population, write its folder, and tell what was found."""
    from diffpref.rewards import load_scorer
    from diffpref.run.prior import PriorJob, train_prior
    from diffpref.run.train_reward import Watchers
    from diffpref.users.prior_file import FILE

    scorer = load_scorer(embedder, device=device)
    job = PriorJob(source=source, out=out, cache=cache, format=format, rows=rows)
    with progress_bars() as bar:
        watch = Watchers(embedding=bar("embedding", "rows"), training=bar("choosing", "choices"))
        found = train_prior(job, scorer, watch)
    if json:
        write_json({"folder": str(out), **found})
        return
    typer.echo(
        f"{found['votes']} votes of {found['people']} people to learn from, {found['held_votes']} "
        f"of {found['held_people']} others to choose on"
    )
    typer.echo(f"{found['features']} features, people differ in {found['rank']} directions")
    typer.echo(
        f"loss of a held-out vote after 0 to 16 of the person's own: {found['held_loss']:.4f}, "
        f"without them {found['held_loss_population']:.4f}"
    )
    if found["held_loss"] >= found["held_loss_population"]:
        typer.echo("a person's own votes did not help: profiles of this population know everyone")
    typer.echo(f"diffpref profile fit VOTES --prior {out / FILE} -o me.profile")
