"""`diffpref rate`: a page on this machine where a person says which of two pictures is better."""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import typer

from diffpref.cli import profile_options, rate_options
from diffpref.cli import sample_options as sampling
from diffpref.cli import scorer_options as scoring
from diffpref.cli.app import verb_app, write_json
from diffpref.cli.rate_session import Live, rating, studying, told_again, unfinished
from diffpref.cli.rate_source import Asked
from diffpref.cli.values import whole_numbers
from diffpref.errors import UsageError

ABOUT = """A page on this machine where you say which of two pictures is better.

\b
  diffpref rate pictures/ --prompt "a portrait"         pictures you have
  diffpref rate pairs.jsonl                             preference data, to vote on it yourself
  diffpref rate --generate --prompts mine.txt           pictures the bundled model makes meanwhile
  diffpref rate --compare builtin:base runs/mine        a blind study of two models

Open the link it prints. Left and right arrow choose, down is a tie, S skips, U takes the last
answer back; a mouse or a finger does it too. Ctrl-C ends it, and the same line goes on later.

Every answer is on the disk before the next pair is shown: --out holds journal.jsonl, to which is
only ever added, and pairs.jsonl, the votes that stand, ready for `train` and `profile fit`. A
profile of your taste is kept beside them, and chooses the pair whose answer would teach it most.
"""

GOAL = 20
INSTALL = "install it with: pip install 'diffpref[ui]'"

app = verb_app(ABOUT)


@app.command(help=ABOUT)
def rate(
    source: rate_options.Source = None,
    *,
    out: rate_options.Out = Path("ratings"),
    user: rate_options.User = None,
    pairs: rate_options.Goal = None,
    seed: rate_options.Seed = 0,
    prompt: scoring.Prompt = None,
    prompts_from: scoring.PromptsFrom = None,
    format: rate_options.Format = None,
    part: rate_options.Part = "train",
    generate: rate_options.Generate = False,
    compare: rate_options.Compare = None,
    model: rate_options.Model = None,
    prompts: rate_options.Prompts = None,
    limit: rate_options.Limit = None,
    images_per_prompt: rate_options.PerPrompt = 4,
    seeds: rate_options.Seeds = None,
    guidance: sampling.Guidance = None,
    steps: rate_options.Steps = 50,
    sampler: sampling.Sampler = "ddim",
    prior: rate_options.Prior = "bt-world",
    no_profile: rate_options.NoProfile = False,
    profile: rate_options.Profile = None,
    cache: profile_options.Cache = Path("cache"),
    weights_dir: profile_options.WeightsDir = None,
    host: rate_options.Host = "127.0.0.1",
    expose: rate_options.Expose = False,
    port: rate_options.Port = None,
    open: rate_options.Open = False,
    device: sampling.Device = "auto",
    dtype: sampling.Dtype = None,
    json: sampling.Json = False,
) -> None:
    asked = Asked(
        source=source,
        generate=generate,
        compare=compare,
        model=model,
        prompts=prompts,
        limit=limit,
        images_per_prompt=images_per_prompt,
        seeds=whole_numbers(seeds, "--seeds", [0]),
        seed=seed,
        format=format,
        part=part,
        prompt=prompt,
        prompts_from=prompts_from,
        device=device,
        dtype=dtype,
        settings=sampling.settings_of(guidance, steps, sampler),
    )
    asked.check()
    _require_ui()
    live = Live(
        prior=prior,
        cache=cache,
        weights_dir=weights_dir,
        device=device,
        file=profile,
        off=no_profile,
        goal=GOAL if pairs is None else pairs,
    )
    found = _rate(asked, live, out, user, Where(host=host, port=port, expose=expose, open=open))
    if json:
        write_json(found)
    else:
        _write(found)


@dataclass(frozen=True, kw_only=True)
class Where:
    """Where to listen, and whether to open the link."""

    host: str
    port: int | None
    expose: bool
    open: bool

    def tell(self, link: str) -> None:
        """Say where the page is."""
        from diffpref.rate.gate import is_loopback

        if not is_loopback(self.host):
            typer.echo("warning: others can reach this page, and nothing is encrypted", err=True)
        typer.echo(f"rate here: {link}\nCtrl-C ends it; every answer is kept", err=True)
        if self.open:
            import webbrowser

            webbrowser.open(link)


def _rate(asked: Asked, live: Live, out: Path, user: str | None, where: Where) -> dict[str, Any]:
    from diffpref.rate.book import Book
    from diffpref.rate.serve import listen, require_allowed, serve

    require_allowed(where.host, where.expose)
    with listen(where.host, where.port) as bound, closing(Book(out, user=user)) as book:
        study = asked.study()
        if study is not None and book.revealed:
            typer.echo("note: this study is over: its labels were shown", err=True)
            return told_again(study, book)
        session = rating(asked, live, book) if study is None else studying(study, asked, book)
        serve(session, bound, where.host, where.tell)
        session.close()
        if session.result is not None:
            return session.result
        return unfinished(session) if study is not None else session.so_far()


def _write(found: Mapping[str, Any]) -> None:
    if "text" in found:
        rows = ("wins", "ties", "losses", "same", "skipped", "prompts")
        typer.echo(found["text"])
        typer.echo(", ".join(f"{found[name]} {name}" for name in rows))
        return
    typer.echo(f"{found['votes']} votes ({found['ties']} ties), {found['skipped']} skipped")
    if "next" in found:
        typer.echo("\n".join(["next:", *(f"  {each}" for each in found["next"])]))


def _require_ui() -> None:
    missing = [name for name in ("starlette", "uvicorn") if find_spec(name) is None]
    if missing:
        what = f"the rating page needs {' and '.join(missing)}"
        raise UsageError(what, where="rate", hint=INSTALL)
