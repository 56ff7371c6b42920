"""One person's images beside the base's, the population's and somebody else's, same seeds."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import torch
from jaxtyping import UInt8
from torch import Tensor

from diffpref.errors import UsageError
from diffpref.evaluate.compare import Progress, Subject
from diffpref.evaluate.opened import Opened
from diffpref.evaluate.personal import knows_users, personal_subject
from diffpref.evaluate.pictures import to_bytes
from diffpref.evaluate.rerank import best_of
from diffpref.models import adapters_off, has_adapters
from diffpref.models.sample_settings import SampleSettings, image_size, images_at_once
from diffpref.rewards import LoadedScorer
from diffpref.users.profile import UserProfile, null_profile
from diffpref.users.reward import profile_scorer

COLUMNS = ("base", "population", "mine", "somebody else's")

Switch = Callable[[], AbstractContextManager[None]]


@dataclass(frozen=True, kw_only=True)
class Column:
    """What one column is made with: a model, whose reward chooses, and what is switched off."""

    name: str
    subject: Subject
    chooser: UserProfile | None
    switch: Switch = field(default=nullcontext)


def columns_of(
    opened: Opened,
    settings: SampleSettings,
    *,
    mine: UserProfile,
    other: UserProfile,
    strength: float,
    rerank: bool,
) -> list[Column]:
    """Return the four columns; whatever differs between the last two is whom they are for.

    base: without LoRA and user. population: the LoRA without a user, where there is one; else the
    vector of nobody in particular, which says what the adapter learned of everyone. With
    re-ranking every column but the base is chosen by its own person's reward, the population's
    by what everyone likes.

    Args:
        opened: the model, with a user adapter unless images are only re-ranked.
        settings: how images are made.
        mine: the person.
        other: somebody else of the same population.
        strength: of the users.
        rerank: whether images are chosen.

    Raises:
        UsageError: nothing would make a difference, or the profiles do not belong to the model.
    """
    bundle, adapted = opened.bundle, knows_users(opened)
    if not adapted and not rerank:
        hint = "add --adapter RUN, choose a run with adapter.kind: user, or add --rerank 16"
        raise UsageError(f"{opened.name} knows no users", where="--compare", hint=hint)
    nobody = null_profile(mine.prior, mine.encoder)
    plain = personal_subject(opened, settings)

    def told(person: UserProfile) -> Subject:
        return personal_subject(opened, settings, person, strength) if adapted else plain

    def off() -> AbstractContextManager[None]:
        return adapters_off(bundle.unet, *bundle.text.encoders)

    everyone = plain if has_adapters(bundle.unet) else told(nobody)
    people = ((everyone, nobody), (told(mine), mine), (told(other), other))
    return [
        Column(name=COLUMNS[0], subject=plain, chooser=None, switch=off),
        *(
            Column(name=name, subject=subject, chooser=person if rerank else None)
            for name, (subject, person) in zip(COLUMNS[1:], people, strict=True)
        ),
    ]


def draw_columns(
    opened: Opened,
    settings: SampleSettings,
    columns: Sequence[Column],
    prompts: Sequence[str],
    *,
    seed: int = 0,
    n: int = 1,
    pool: int = 1,
    embedder: LoadedScorer | None = None,
    on_progress: Progress | None = None,
) -> UInt8[Tensor, "m p n 3 y x"]:
    """Return every column's images, all from the same seeds.

    Args:
        opened: the model.
        settings: how images are made.
        columns: of `columns_of`.
        prompts: one per row.
        seed: of the first image of each prompt.
        n: images shown of each prompt.
        pool: images made to choose from, where somebody chooses.
        embedder: the scorer that profiles read, where somebody chooses.
        on_progress: told the images made.
    """
    chunk = images_at_once(settings, *image_size(opened.bundle, settings))
    sizes = [n if column.chooser is None else max(pool, n) for column in columns]
    total, done, found = len(prompts) * sum(sizes), 0, list[Tensor]()
    for column, size in zip(columns, sizes, strict=True):

        def tell(some: int, _: int | None, before: int = done) -> None:
            if on_progress is not None:
                on_progress(before + some, total)

        with column.switch():
            if column.chooser is None or embedder is None:
                found.append(_first(column.subject, prompts, seed, n, tell))
            else:
                judge = profile_scorer(column.chooser, embedder)
                rows = best_of(
                    column.subject,
                    judge,
                    prompts,
                    seed=seed,
                    n=size,
                    keep=n,
                    chunk=chunk,
                    on_progress=tell,
                )
                found.append(torch.stack([torch.stack([k.pixels for k in row]) for row in rows]))
        done += len(prompts) * size
    return torch.stack(found)


def _first(
    subject: Subject, prompts: Sequence[str], seed: int, n: int, tell: Progress
) -> UInt8[Tensor, "p n 3 y x"]:
    """Return the images of n seeds."""
    made, count = list[Tensor](), len(prompts)
    for k in range(n):
        images = subject.sample(
            prompts,
            seed=seed + k,
            positions=range(count),
            on_progress=lambda some, _, before=k * count: tell(before + some, None),
        )
        made.append(to_bytes(images))
    return torch.stack(made, dim=1)


def facts_of_columns(
    opened: Opened, mine: UserProfile, other: UserProfile, strength: float, pool: int | None
) -> Mapping[str, str]:
    """Return what a grid's file says: hashes, never names."""
    told = {"strength": f"{strength:g}"} if knows_users(opened) else {}
    chosen = {} if pool is None else {"rerank": str(pool)}
    return {
        "columns": ", ".join(COLUMNS),
        "profile": mine.sha256,
        "other": other.sha256,
        **told,
        **chosen,
    }
