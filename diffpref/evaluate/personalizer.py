"""Images for one person from Python: a model, a profile, and a user adapter where there is one."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from diffpref.evaluate.compare import Subject
from diffpref.evaluate.opened import Opened, Place
from diffpref.evaluate.personal import knows_users, open_adapter, personal_subject, read_profile
from diffpref.evaluate.pictures import to_bytes, to_picture
from diffpref.evaluate.rerank import best_of
from diffpref.evaluate.subject import open_model, open_with_lora
from diffpref.models.sample_settings import SampleSettings, image_size, images_at_once
from diffpref.rewards import LoadedScorer
from diffpref.users.profile import UserProfile

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True, kw_only=True)
class Personalizer:
    """Makes images of prompts for one person.

    Attributes:
        opened: the model.
        profile: whose images; None is nobody's.
        strength: of the profile: 1 as trained; 0 is the model itself, bit for bit.
        settings: how images are made.
    """

    opened: Opened
    profile: UserProfile | None = None
    strength: float = 1.0
    settings: SampleSettings = field(default_factory=SampleSettings)

    @classmethod
    def load(
        cls,
        model: str = "builtin:base",
        *,
        profile: UserProfile | Path | str | None = None,
        adapter: Path | str | None = None,
        lora: str | None = None,
        strength: float = 1.0,
        settings: SampleSettings | None = None,
        place: Place | None = None,
    ) -> "Personalizer":
        """Load a model and whom it makes images for.

        Args:
            model: what `generate --model` reads; a run may have trained an adapter itself.
            profile: a profile or its file.
            adapter: a run that trained a user adapter, or its file.
            lora: a population LoRA, which the adapter stands on.
            strength: of the profile.
            settings: how images are made.
            place: device and precision.

        Raises:
            ConfigError: no such model, or the adapter or LoRA does not fit it.
            UsageError: no such adapter, or it was trained for another encoder or population.
            DataError: the profile is damaged.
        """
        found = (
            open_model(model, place=place)
            if lora is None
            else open_with_lora(model, lora, place=place)
        )
        near = None if adapter is None else Path(adapter)
        opened = found if near is None else open_adapter(found, near)
        if isinstance(profile, str | Path):
            profile = read_profile(Path(profile), near=near)
        made = cls(
            opened=opened,
            profile=profile,
            strength=strength,
            settings=settings or SampleSettings(),
        )
        made.subject()  # refuses a profile of another encoder before anything is made
        return made

    def subject(self) -> Subject:
        """Return the model, told of the person if it knows users."""
        told = self.profile if knows_users(self.opened) else None
        return personal_subject(self.opened, self.settings, told, self.strength)

    def __call__(self, prompts: Sequence[str], n: int = 1, seed: int = 0) -> "list[list[Image]]":
        """Return n images of every prompt, of seeds seed, seed + 1 ..."""
        subject, places = self.subject(), range(len(prompts))
        columns = [
            to_bytes(subject.sample(prompts, seed=seed + k, positions=places, on_progress=None))
            for k in range(n)
        ]
        return [[to_picture(column[p]) for column in columns] for p in places]

    def rerank(
        self,
        prompts: Sequence[str],
        n: int = 16,
        keep: int = 4,
        seed: int = 0,
        *,
        reward: LoadedScorer | None = None,
    ) -> "list[list[Image]]":
        """Return the `keep` images of n that the profile's reward likes most, best first.

        Args:
            prompts: what to show.
            n: images made of each prompt; needs no adapter.
            keep: images kept of them.
            seed: of the first.
            reward: the profile's, if it is loaded already.

        Raises:
            ValueError: there is no profile.
        """
        if self.profile is None:
            raise ValueError("nobody's reward: load the Personalizer with a profile")
        found = best_of(
            self.subject(),
            reward or self.profile.reward(),
            prompts,
            seed=seed,
            n=n,
            keep=keep,
            chunk=images_at_once(self.settings, *image_size(self.opened.bundle, self.settings)),
        )
        return [[to_picture(each.pixels) for each in row] for row in found]
