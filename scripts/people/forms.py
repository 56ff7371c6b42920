"""How much is spent on the card, and who is on it."""

from dataclasses import dataclass

from diffpref.data.records import Record
from diffpref.data.source_parts import parts_of
from diffpref.evaluate.newcomer import newcomer
from diffpref.world.crowd import bundled_crowd
from diffpref.world.people import Person


@dataclass(frozen=True, kw_only=True)
class Form:
    """Sizes of the card.

    Attributes:
        newcomers: people beside the 20 of the bundled test part, drawn as they were.
        prompts: of the bundled test prompts; every person's images are of all of them.
        tried: images of a prompt that are re-ranked.
        candidates: strengths of an adapter; the best on people and prompts of the validation part
            is taken.
        search_prompts: validation prompts of that search.
        strengths: of the sweep, which is shown and chooses nothing.
        swept: people of the sweep, and clones that an adapter is told.
        mixes: shares of the second of two people whose vectors are mixed.
        mixed: pairs of people.
        shots: votes a profile is made from.
    """

    newcomers: int = 0
    prompts: int = 25
    tried: int = 8
    candidates: tuple[float, ...] = (1.0, 2.0, 3.0)
    search_prompts: int = 8
    strengths: tuple[float, ...] = (0.5, 1.0, 2.0, 3.0)
    swept: int = 8
    mixes: tuple[float, ...] = (0.25, 0.5, 0.75)
    mixed: int = 6
    shots: tuple[int, ...] = (4, 16)
    sampler_steps: int = 12


FORMS = {
    "short": Form(),
    "full": Form(newcomers=40, prompts=50, search_prompts=16, swept=20, mixed=20),
}


def people_of(part: str, newcomers: int = 0) -> list[Person]:
    """Return the voters of one part of the bundled pairs, then people nobody has met."""
    rows = parts_of("builtin:pairs")[part].rows()
    names = dict.fromkeys(row.user or "" for row in rows if isinstance(row, Record))
    crowd = bundled_crowd()
    return [crowd[name] for name in names] + [newcomer(number) for number in range(newcomers)]
