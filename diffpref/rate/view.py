"""A session in the plain values that the page is told."""

from collections.abc import Sequence

from diffpref.rate.entries import Entry
from diffpref.rate.gallery import Gallery
from diffpref.rate.plan import Plain, Plan
from diffpref.rate.pool import Pool
from diffpref.rate.question import Asked


def seen(now: Asked, gallery: Gallery) -> Plain:
    """Return a pair as the page shows it: its pictures by names that mean nothing."""
    left, right = ({"src": f"image/{gallery.name(each)}"} for each in now.sides)
    return {
        "nonce": now.nonce,
        "prompt": now.pair.prompt,
        "left": left,
        "right": right,
        "bits": now.bits,
    }


def answered(mine: Sequence[Entry], pool: Pool) -> int:
    """Return how many pairs of the pool have a vote."""
    return sum(pool.get(each.pair) is not None for each in mine if not each.skipped)


def progress(mine: Sequence[Entry], pool: Pool, plan: Plan, goal: int | None) -> Plain:
    """Return how far a person has come; `total` is None while nobody knows it."""
    total = None if pool.growing else len(pool)
    if plan.total is not None:
        total = plan.total()
    skipped = [each for each in mine if each.skipped and pool.get(each.pair) is not None]
    return {
        "answered": answered(mine, pool),
        "skipped": len(skipped),
        "goal": goal,
        "total": total,
    }
