"""Images of the card's models, and what is seen in them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from diffpref.evaluate.opened import Opened
from diffpref.evaluate.personal import open_adapter
from diffpref.evaluate.runs import base_of_run
from diffpref.evaluate.subject import open_model
from diffpref.models import Bundle
from diffpref.models.sample import sample
from diffpref.models.sample_settings import SampleSettings
from diffpref.rewards import load_scorer
from diffpref.rewards.heads.items import Items
from diffpref.users.prior import Prior
from diffpref.world.oracle import fidelity
from diffpref.world.taste import attributes
from diffpref.world.untouched import untouched
from scripts.people.training import config_of

DIGITS = 4
Images = Float[Tensor, "n 3 y x"]
Facts = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Studio:
    """Where images are made: `base`, `population` (its LoRA), and the adapters by name."""

    work: Path
    steps: int
    _open: dict[str, Bundle] = field(default_factory=dict[str, Bundle], repr=False)

    def bundle(self, model: str) -> Bundle:
        """Return a model, opened once."""
        if model not in self._open:
            self._open[model] = self._opened(model)
        return self._open[model]

    def _opened(self, model: str) -> Bundle:
        if model == "base":
            return open_model("builtin:base").bundle
        if model == "population":
            return base_of_run(config_of("taste", self.work))
        return open_model(str(self.work / model)).bundle

    def images(
        self,
        bundle: Bundle,
        prompts: Sequence[str],
        *,
        seed: int = 0,
        users: Float[Tensor, "v u"] | None = None,
        strength: float = 1.0,
    ) -> Images:
        """Return every person's image of every prompt, people first, as eight bits hold them."""
        people = 1 if users is None else len(users)
        count = len(prompts)
        found = sample(
            bundle,
            list(prompts) * people,
            seed=seed,
            positions=list(range(count)) * people,
            settings=SampleSettings(steps=self.steps),
            users=None if users is None else users.float().repeat_interleave(count, dim=0),
            strength=strength,
        )
        return (found * 255).round() / 255

    def shot(
        self,
        model: str,
        prompts: Sequence[str],
        *,
        users: Float[Tensor, "v u"] | None = None,
        strength: float = 1.0,
    ) -> Facts:
        """Return what is seen in the images, [people, prompts, attributes and fidelity]."""
        images = self.images(self.bundle(model), prompts, users=users, strength=strength)
        people = len(images) // len(prompts)
        seen = _seen(images, list(prompts) * people)
        return {
            "strength": strength,
            "seen": _listed(seen.view(people, len(prompts), -1)),
            **_mute(images),
        }

    def pool(self, model: str, prompts: Sequence[str], tried: int, prior: Prior) -> Facts:
        """Return what is seen in several images of each prompt, and a profile's features."""
        bundle = self.bundle(model)
        rows = [self.images(bundle, prompts, seed=seed) for seed in range(tried)]
        seen = torch.stack([_seen(images, prompts) for images in rows], dim=1)
        embedder = load_scorer(prior.embedder.scorer)
        told = embedder.embed_prompts(list(prompts))
        features = [
            prior.whitening(Items(image=embedder.embed_images(images), prompt=told))
            for images in rows
        ]
        return {
            "seen": _listed(seen),
            "features": _listed(torch.stack(features, dim=1)),
            "untouched": _listed(torch.stack([untouched(images) for images in rows], dim=1)),
        }

    def null_is_base(self, prompts: Sequence[str], users: Float[Tensor, "v u"]) -> Facts:
        """Tell whether an adapter at strength 0, and told nobody, is its base bit for bit."""
        checks: dict[str, tuple[Bundle, Bundle]] = {
            "on the population": (self.bundle("taste"), self.bundle("population")),
            "on the base": (self._on_base().bundle, self.bundle("base")),
        }
        found: Facts = {}
        for name, (ours, base) in checks.items():
            plain = self.images(base, prompts)
            silent = self.images(ours, prompts, users=users[:1], strength=0.0)
            nobody = self.images(ours, prompts)
            told = self.images(ours, prompts, users=users[:1])
            found[name] = torch.equal(silent, plain) and torch.equal(nobody, plain)
            found[f"{name}, heard"] = not torch.equal(told, plain)
        return found

    def _on_base(self) -> Opened:
        return open_adapter(open_model("builtin:base"), self.work / "taste")


def _seen(images: Images, prompts: Sequence[str]) -> Float[Tensor, "n b"]:
    return torch.cat([attributes(images), fidelity(images, tuple(prompts))[:, None]], dim=1)


def _mute(images: Images) -> Facts:
    """Return mean and spread of what nobody has a taste about."""
    found = untouched(images).double()
    return {"untouched": {"mean": _listed(found.mean(dim=0)), "std": _listed(found.std(dim=0))}}


def _listed(values: Tensor) -> Any:
    return [_listed(each) if each.ndim else round(float(each), DIGITS) for each in values.double()]
