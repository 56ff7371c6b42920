"""The measurements of the card, made when asked for."""

from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffpref.evaluate.prompts import read_prompts
from scripts.people.booth import Booth, open_booth
from scripts.people.forms import FORMS, people_of
from scripts.people.ledger import Facts, Ledger, say
from scripts.people.rows import (
    ADAPTED,
    CHOSEN,
    PANEL_NAMES,
    PANEL_SHOTS,
    POOL_SHOTS,
    POOLS,
    Cast,
    cast_of,
    choice,
    mixed,
)
from scripts.people.studio import Studio
from scripts.people.training import RUNS, trained
from scripts.people.wins import against_one, liked

PARTS = ("train", "rerank", "panels", "taste", "bt", "sweep", "mix", "clones", "null")


class Card:
    """The measurements of one form."""

    def __init__(self, form: str, work: Path) -> None:
        self.name, self.form, self.work = form, FORMS[form], work
        self.studio = Studio(work=work, steps=self.form.sampler_steps)
        self.prompts = read_prompts("builtin:prompts/test", limit=self.form.prompts)
        sizes = (len(self.prompts), self.form.newcomers, self.form.sampler_steps)
        self.ledger = Ledger(work, form, sizes)

    @cached_property
    def booth(self) -> Booth:
        return open_booth(self.work)

    @cached_property
    def cast(self) -> Cast:
        return cast_of(people_of("test", self.form.newcomers), self.booth)

    def shot(self, row: str, model: str, users: Tensor | None = None, **about: Any) -> Facts:
        """Return what is seen in the images of test prompts for some people."""
        strength = float(about.get("strength", 1.0))
        about |= {} if users is None else {"people": len(users)}
        return self.ledger.kept(
            row,
            lambda: self.studio.shot(model, self.prompts, users=users, strength=strength),
            of=model,
            **about,
        )

    def pool(self, model: str) -> Facts:
        tried = self.form.tried
        return self.ledger.kept(
            f"pool/{model}",
            lambda: self.studio.pool(model, self.prompts, tried, self.booth.prior),
            of=model,
            tried=tried,
        )

    def rerank(self, model: str, cast: Cast, by: str, panel: str = "", **about: Any) -> None:
        """Choose everybody's images of a pool."""
        pool = self.pool(model)
        seen, features = (torch.tensor(pool[name]) for name in ("seen", "features"))
        self.ledger.kept(
            f"{panel or 'rerank'}/{model}/{by}",
            lambda: {"pool": model, "index": choice(cast, by, seen, features)},
            of=model,
            tried=self.form.tried,
            **about,
        )

    def strength(self, row: str) -> float:
        """Return the strength at which validation people's own images beat the population most."""
        model, vectors = ADAPTED[row]
        prompts = read_prompts("builtin:prompts/validation", limit=self.form.search_prompts)
        people = cast_of(people_of("validation"), self.booth)
        everyone = self.ledger.kept(
            "search/population",
            lambda: self.studio.shot("population", prompts),
            of="population",
            prompts=len(prompts),
        )
        theirs = liked(torch.tensor(everyone["seen"]), people.tastes)[:, 0]
        won: dict[float, float] = {}
        for strength in self.form.candidates:
            found = self.ledger.kept(
                f"search/{row}",
                lambda at=strength: self.studio.shot(
                    model, prompts, users=people.told(vectors), strength=at
                ),
                of=model,
                prompts=len(prompts),
                strength=strength,
            )
            table = liked(torch.tensor(found["seen"]), people.tastes)
            won[strength] = float(against_one(table, theirs).mean())
        say(f"{row}: own against the population, by strength: {won}")
        return max(won, key=lambda at: won[at])

    def part(self, name: str) -> None:
        """Make one of PARTS."""
        getattr(self, f"_{name}")()

    def _train(self) -> None:
        for run in RUNS:
            say(f"training: {run}")
            trained(run, self.work)

    def _rerank(self) -> None:
        for model in POOLS:
            self.shot(f"model/{model}", model)
            for by in (*CHOSEN, "everyone", "prior"):
                self.rerank(model, self.cast, by)

    def _panels(self) -> None:
        for panel in PANEL_NAMES:
            for by in (f"attributes/{PANEL_SHOTS}", "everyone"):
                cast = self.cast.panel(panel)
                self.rerank("base", cast, by, f"panel/{panel}", pooled=POOL_SHOTS)

    def _adapted(self, model: str) -> None:
        for row, (which, vectors) in ADAPTED.items():
            if which == model:
                # a random vector is told as loudly as the true one
                at = self.strength("taste: true" if vectors == "random" else row)
                self.shot(row, model, self.cast.told(vectors), strength=at)

    def _taste(self) -> None:
        self._adapted("taste")
        nobody = 0 * self.cast.told("true")[:1]
        self.shot("taste: nobody (zeros)", "taste", nobody, strength=self.strength("taste: true"))

    def _bt(self) -> None:
        self._adapted("bt")
        nobody, at = torch.zeros(1, self.booth.prior.size), self.strength("bt: profile, 16 votes")
        self.shot("bt: nobody (zeros)", "bt", nobody, strength=at)

    def _sweep(self) -> None:
        told = self.cast.told("true")[: self.form.swept]
        for strength in self.form.strengths:
            self.shot("sweep", "taste", told, strength=strength)

    def _mix(self) -> None:
        told, at = self.cast.told("true"), self.strength("taste: true")
        for share in self.form.mixes:
            users = mixed(told, share, self.form.mixed)
            self.shot("mix", "taste", users, strength=at, share=share)

    def _clones(self) -> None:
        at, vectors = self.strength("taste: true"), f"attributes/{PANEL_SHOTS}"
        told = self.cast.panel("clones").told(vectors)[: self.form.swept]
        self.shot("panel/clones/taste", "taste", told, strength=at)

    def _null(self) -> None:
        self.ledger.kept(
            "null",
            lambda: self.studio.null_is_base(self.prompts[:4], self.cast.told("true")),
            of="taste",
        )
