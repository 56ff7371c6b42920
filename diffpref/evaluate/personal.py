"""A model that is told whom its images are for, as a subject; user adapters put on any model."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from diffpref.errors import UsageError
from diffpref.evaluate.compare import Images, Progress, Subject
from diffpref.evaluate.opened import Opened
from diffpref.evaluate.profiles import users_by, vectors_for
from diffpref.evaluate.runs import CONFIG
from diffpref.evaluate.subject import sampling
from diffpref.models import load_user_adapter, user_adapter_of
from diffpref.models.sample import sample
from diffpref.models.sample_settings import SampleSettings
from diffpref.models.user_files import FILE, read_about
from diffpref.users.prior_file import FILE as PRIOR
from diffpref.users.profile import UserProfile
from diffpref.users.profile_file import load_profile
from diffpref.users.vlm.profile import VlmProfile


def open_adapter(opened: Opened, path: Path) -> Opened:
    """Put a user adapter on a model, a LoRA it has included.

    Args:
        opened: the model, without a user adapter.
        path: of a run that trained one, or of the file.

    Returns:
        The model, which now knows users.

    Raises:
        UsageError: there is no adapter.
        ConfigError: it does not fit the model, or the model has one already.
    """
    file = adapter_file(path)
    load_user_adapter(opened.bundle.unet, file)
    name = file.resolve().parent.name if file.name == FILE else file.stem
    facts = {**opened.facts, "adapter": name, **users_by(file)}
    return replace(opened, name=f"{opened.name}+{name}", facts=facts)


def adapter_file(path: Path) -> Path:
    """Return the file of an adapter, or of the run that trained it.

    Raises:
        UsageError: there is none.
    """
    file = path / FILE if path.is_dir() else path
    if file.is_file():
        return file
    unfinished = (path / CONFIG).is_file()
    hint = (
        f"finish the run: diffpref train {path} --resume auto; or open it with --run {path}"
        if unfinished
        else f"give a run trained with adapter.kind: user, or its {FILE}"
    )
    raise UsageError("holds no user adapter", where=str(path), hint=hint)


def base_of_adapter(path: Path) -> str | None:
    """Return the fingerprint of the model an adapter was trained on, if it says so."""
    return read_about(adapter_file(path)).get("base")


def read_profile(path: Path, prior: str | None = None, *, near: Path | None = None) -> UserProfile:
    """Read a profile; a run that was trained with its population may lend it.

    Args:
        path: the profile.
        prior: its population, if it is neither bundled nor beside the profile.
        near: a run folder, which keeps the population its users were described with.

    Raises:
        DataError: damaged, or of another population than the one given.
        UsageError: its population is not found.
    """
    try:
        return load_profile(path, prior)
    except UsageError:
        lent = None if near is None else near / PRIOR
        if prior is not None or lent is None or not lent.is_file():
            raise
        return load_profile(path, str(lent))


def personal_subject(
    opened: Opened,
    settings: SampleSettings,
    profile: UserProfile | VlmProfile | None = None,
    strength: float = 1.0,
) -> Subject:
    """Return the model as it is when told whom its images are for.

    Args:
        opened: the model.
        settings: how images are made.
        profile: whose; None is nobody's, the model itself.
        strength: 1 as trained; 0 is the model itself, bit for bit.

    Returns:
        A subject whose facts name the profile by its hash only.

    Raises:
        UsageError: the model knows no users, or learned them from another encoder or population.
    """
    if profile is not None:
        vectors_for(profile, opened, 1)  # refuses before anything is made

    def draw(
        prompts: Sequence[str],
        *,
        seed: int,
        positions: Sequence[int],
        on_progress: Progress | None,
    ) -> Images:
        return sample(
            opened.bundle,
            prompts,
            seed=seed,
            positions=positions,
            settings=settings,
            users=None if profile is None else vectors_for(profile, opened, len(prompts)),
            strength=strength,
            on_progress=on_progress,
        )

    facts = {**opened.facts, **sampling(opened.bundle, settings)}
    if profile is not None:
        facts |= {"profile": profile.sha256, "strength": f"{strength:g}"}
    return Subject(name=opened.name, sample=draw, facts=facts)


def knows_users(opened: Opened) -> bool:
    """Tell whether a model has a user adapter."""
    return user_adapter_of(opened.bundle.unet) is not None
