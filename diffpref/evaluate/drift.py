r"""How far a model's images moved from the base's, in ways the training reward need not show.

    shift    = mean over statistics of | mean(ours) - mean(base) | / std(base)
    distance = (2 A - B - C) / (2 A),  A = E|x - y|, B = E|x - x'|, C = E|y - y'|

`shift` is for statistics with a meaning of their own, in standard deviations of the base's images;
`distance` is the energy distance of embeddings (Szekely and Rizzo, 2013) as a share: 0 where both
sets are one, towards 1 as they part. It sees lost diversity too, where no mean moves. Both compare
images of the same prompts and seeds, so an untrained policy has exactly 0.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import isfinite

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from diffpref.errors import DataError, UsageError
from diffpref.rewards import LoadedScorer
from diffpref.rewards.model import ImageTower
from diffpref.world.taste import colourfulness, contrast, edge_energy, luma
from diffpref.world.untouched import untouched

Images = Float[Tensor, "n 3 y x"]
Numbers = Float[Tensor, "n f"]

LOW_LEVEL, UNTOUCHED = "low_level", "untouched"
"""Names of drifts that need no weights; the second is for the bundled world."""

WORLD = "builtin:"
"""How the names of the bundled world's models begin."""

LEAST = 1e-4
"""Standard deviation of a statistic below which the base's images count as alike in it."""


@dataclass(frozen=True, kw_only=True)
class Drifts:
    """What is compared: `world` adds what nobody of the bundled world has a taste about, and
    `features` what `embed` (images to unit vectors) sees, under its name."""

    world: bool = False
    features: str | None = None
    embed: Callable[[Images], Numbers] | None = field(default=None, repr=False)

    def __call__(self, ours: Images, base: Images) -> dict[str, float]:
        """Return drift/<name>, and diversity/<name> of both; nothing for fewer than two images.

        Args:
            ours: images of the model, in [0, 1].
            base: the base's, of the same prompts and seeds.
        """
        if len(base) < 2:
            return {}
        low = [low_level(images) for images in (ours, base)]
        spread = low[1].std(dim=0).clamp(min=LEAST)
        found = {
            f"drift/{LOW_LEVEL}": shift(*low),
            f"diversity/{LOW_LEVEL}": diversity(low[0] / spread),
            f"diversity_base/{LOW_LEVEL}": diversity(low[1] / spread),
        }
        if self.world:
            found[f"drift/{UNTOUCHED}"] = shift(untouched(ours), untouched(base))
        if self.embed is not None:
            mine, theirs = self.embed(ours), self.embed(base)
            found[f"drift/{self.features}"] = distance(mine, theirs)
            found[f"diversity/{self.features}"] = diversity(mine)
            found[f"diversity_base/{self.features}"] = diversity(theirs)
        return found


def embedding(scorer: LoadedScorer) -> Callable[[Images], Numbers]:
    """Return the scorer's image embeddings as a function.

    Raises:
        UsageError: it has none.
    """
    if not isinstance(scorer.model, ImageTower):
        raise UsageError(
            f"{scorer.info.id} has no image embeddings",
            where="evaluate.drift_features",
            hint="choose a scorer of kind image-text, such as clipscore or world-reward",
        )
    return scorer.embed_images


def drift_names(base: str, features: str | None) -> list[str]:
    """Return which drifts are measured of a model trained from `base`."""
    world = [UNTOUCHED] if base.startswith(WORLD) else []
    return [LOW_LEVEL, *world, *([features] if features else [])]


def low_level(images: Images) -> Float[Tensor, "n 9"]:
    """Return statistics that pictures of any kind and size have.

    Means of red, green and blue; contrast; saturation; colourfulness; edge energy; the energy of
    what a 3 x 3 mean takes away; the share of channels at either end of their range.
    """
    light = luma(images)[:, None]
    smooth = functional.avg_pool2d(functional.pad(light, (1, 1, 1, 1), mode="replicate"), 3, 1)
    ends = ((images < 1 / 255) | (images > 254 / 255)).to(images.dtype)
    columns = [
        *images.mean(dim=(2, 3)).unbind(dim=1),
        contrast(images),
        (images.amax(dim=1) - images.amin(dim=1)).mean(dim=(1, 2)),
        colourfulness(images),
        edge_energy(images),
        (light - smooth).square().mean(dim=(1, 2, 3)).add(1e-6).sqrt(),
        ends.mean(dim=(1, 2, 3)),
    ]
    return torch.stack(columns, dim=1)


def shift(ours: Numbers, base: Float[Tensor, "m f"]) -> float:
    """Return the mean absolute shift of the means, in standard deviations of the base's."""
    ours, base = ours.double(), base.double()
    apart = (ours.mean(dim=0) - base.mean(dim=0)).abs()
    return float((apart / base.std(dim=0).clamp(min=LEAST)).mean())


def distance(ours: Numbers, base: Float[Tensor, "m f"]) -> float:
    """Return the energy distance as a share, in [0, 1]; every pair counts, also of one image."""
    ours, base = ours.double(), base.double()
    # by differences: the faster way by inner products leaves equal rows apart
    between, mine, theirs = (
        torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist").mean()
        for a, b in ((ours, base), (ours, ours), (base, base))
    )
    return 0.0 if between == 0 else float((2 * between - mine - theirs) / (2 * between))


def diversity(numbers: Numbers) -> float:
    """Return the mean Euclidean distance of two different rows; NaN if there is one row."""
    return float(torch.pdist(numbers.double()).mean())


def beyond(metrics: Mapping[str, float], limits: Mapping[str, float]) -> str | None:
    """Return what a user is told of the first drift above its limit, or that is no number.

    Raises:
        DataError: there were too few images to measure one.
    """
    for name, limit in limits.items():
        value = metrics.get(f"drift/{name}")
        if value is None:
            hint = "give at least two prompts or seeds"
            raise DataError("one image has no drift", where="evaluate.prompts", hint=hint)
        if not isfinite(value) or value > limit:
            return f"drift/{name} is {value:.3g}, beyond evaluate.max_drift of {limit:g}"
    return None
