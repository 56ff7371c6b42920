"""`diffpref quickstart --personal`: eight votes of somebody new, a profile, images, the truth."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from diffpref.cli.progress import progress_bars
from diffpref.cli.quickstart_result import Result, Row, tell_result, write_result

if TYPE_CHECKING:
    from torch import Tensor

    from diffpref.evaluate.compare import Subject
    from diffpref.evaluate.opened import Opened
    from diffpref.evaluate.pool import Pool
    from diffpref.models.sample import SampleSettings
    from diffpref.rewards import LoadedScorer
    from diffpref.users.profile import UserProfile
    from diffpref.world.people import Person

Personal = Annotated[
    bool, typer.Option("--personal", help="One new person's taste from eight votes instead.")
]
Adapter = Annotated[
    Path | None, typer.Option("--adapter", help="With --personal: a run that trained one.")
]

PAIRS, ASKED, EACH = 8, 24, 4
"""Pairs voted on, chosen among so many prompts of so many pictures."""

TRIED, PROMPTS = 8, 96
"""Images to choose from, and held-out prompts."""

STEPS, SEED = 20, 0
NO_ADAPTER = (
    "No user adapter is bundled: images are the base's own, chosen by the profile's reward. Train "
    "one: diffpref train shapes/ppd users.encoder=bt users.width=4; give it: --adapter RUN"
)


def personal_quickstart(out: Path, adapter: Path | None, json: bool, machine: Any) -> None:
    """Tell the personal story on the bundled model; see `diffpref quickstart --help`."""
    from diffpref.evaluate.newcomer import newcomer, true_judge
    from diffpref.evaluate.personal import open_adapter, personal_subject
    from diffpref.evaluate.pool import draw_pool
    from diffpref.evaluate.prompts import read_prompts
    from diffpref.evaluate.subject import open_model
    from diffpref.models.sample import SampleSettings
    from diffpref.users import find_prior, null_profile, somebody

    began, how, person = time.monotonic(), SampleSettings(steps=STEPS), newcomer()
    opened = open_model("builtin:base")
    base = personal_subject(opened, how)
    adapted = None if adapter is None else open_adapter(opened, adapter)
    if adapted is not None:  # an adapter of another population is refused before anything is made
        personal_subject(adapted, how, null_profile(find_prior("bt-world")))
    prompts = read_prompts("builtin:prompts/test", limit=PROMPTS)
    judge = true_judge(person)
    with progress_bars() as bar:
        profile = _met(person, base, out, bar("showing", "images"))
        voted = time.monotonic()
        pool = draw_pool(base, prompts, seed=SEED, n=TRIED, on_progress=bar("sampling", "images"))
        other = somebody(profile, SEED)
        rows, chosen = _chosen(pool, judge, profile, other)
        told: list[Row] = []
        if adapted is not None:
            told = _told(judge, pool, _made(adapted, how, _people(profile, other), prompts))
    summary = {
        **_facts(person, profile),
        "profile_bytes": (out / "me.profile").stat().st_size,
        "reranked": {row.name: row.plain() for row in rows},
        "adapter": {"given": adapter is not None, "rows": {row.name: row.plain() for row in told}},
        "note": "" if told else NO_ADAPTER,
        "seconds": {
            "profile": round(voted - began, 1),
            "total": round(time.monotonic() - began, 1),
        },
        "machine": machine,
    }
    result = Result(summary=summary, rows=[*rows, *told], chosen=chosen)
    write_result(out, result, pool, judge)
    tell_result(out, result, json)


def _facts(person: "Person", profile: "UserProfile") -> dict[str, object]:
    return {
        "person": {"name": person.name, "votes": PAIRS, "seen_before": False},
        "profile": {**profile.summary(), "sha256": profile.sha256},
        "tried": TRIED,
        "judge": "the simulated person's exact utility, which nothing was fitted to",
    }


def _made(
    adapted: "Opened",
    how: "SampleSettings",
    people: "Mapping[str, UserProfile]",
    prompts: list[str],
) -> "dict[str, Tensor]":
    """Return what the adapter makes for each person, one image a prompt."""
    from diffpref.evaluate.personal import personal_subject
    from diffpref.evaluate.pool import draw_pool

    return {
        name: draw_pool(personal_subject(adapted, how, each), prompts, seed=SEED).pixels[:, 0]
        for name, each in people.items()
    }


def _met(person: "Person", base: "Subject", out: Path, tell: Any) -> "UserProfile":
    """Show pictures, ask for the pairs that would teach most, and fit the profile."""
    from diffpref.evaluate.newcomer import Shown, vote
    from diffpref.evaluate.pictures import png
    from diffpref.evaluate.pool import draw_pool
    from diffpref.evaluate.prompts import read_prompts
    from diffpref.io import write_atomic
    from diffpref.users import UserProfile, Using, find_prior, null_profile, save_profile

    prompts = read_prompts("builtin:prompts/train", limit=ASKED)
    pool = draw_pool(base, prompts, seed=SEED + 1000, n=EACH, on_progress=tell)
    folder = out / "shown"
    folder.mkdir(parents=True, exist_ok=True)
    shown: dict[Path, str] = {}
    for p, prompt in enumerate(prompts):
        for k in range(EACH):
            path = folder / f"{p:04d}-{k}.png"
            write_atomic(path, png(pool.pixels[p, k], {"prompt": prompt}))
            shown[path] = prompt
    using = Using(cache=out / "cache")
    nobody = null_profile(find_prior("bt-world"))
    asked = nobody.ask(list(shown), PAIRS, prompts=shown, using=using)
    pairs = [tuple(Shown(file=each, prompt=shown[each]) for each in pair) for pair in asked]
    votes = vote(person, [(one, two) for one, two in pairs], out / "votes", seed=SEED)
    profile = UserProfile.fit(votes, prior=nobody.prior, using=using)
    save_profile(out / "me.profile", profile)
    return profile


def _people(profile: "UserProfile", other: "UserProfile") -> "dict[str, UserProfile]":
    from diffpref.users.profile import null_profile

    nobody = null_profile(profile.prior, profile.encoder)
    return {"population": nobody, "mine": profile, "somebody else's": other}


def _chosen(
    pool: "Pool", judge: "LoadedScorer", profile: "UserProfile", other: "UserProfile"
) -> "tuple[list[Row], dict[str, Tensor]]":
    """Return win rates of the images everybody would choose from one pool, and the images."""
    from diffpref.evaluate.pool import rate_of
    from diffpref.rewards import load_scorer
    from diffpref.users.reward import profile_scorer

    embedder = load_scorer(profile.prior.embedder.scorer)
    found = {
        name: pool.best(pool.scores(profile_scorer(each, embedder)))
        for name, each in _people(profile, other).items()
    }
    found = {"base": pool.pixels[:, 0], **found}
    best = pool.best(pool.scores(judge))
    rows = [
        Row(name=f"mine vs {name}", rate=rate_of(judge, found["mine"], found[name], pool.prompts))
        for name in ("base", "population", "somebody else's")
    ]
    ceiling = rate_of(judge, best, found["base"], pool.prompts)
    return [*rows, Row(name="true taste vs base", rate=ceiling)], found


def _told(judge: "LoadedScorer", pool: "Pool", made: "Mapping[str, Tensor]") -> list[Row]:
    """Return win rates of the adapter's images, one of each prompt, against the same seed's."""
    from diffpref.evaluate.pool import rate_of

    others = {"base": pool.pixels[:, 0], **made}
    return [
        Row(
            name=f"adapter: mine vs {name}",
            rate=rate_of(judge, made["mine"], others[name], pool.prompts),
        )
        for name in ("base", "population", "somebody else's")
    ]
