"""Which card a configuration fits, and what would make it fit: no weights are needed."""

from collections.abc import Iterator
from dataclasses import dataclass

from diffpref.catalogue import build_objective, find_method
from diffpref.config.schema import RunConfig
from diffpref.config.stand_in import stand_in
from diffpref.errors import ConfigError
from diffpref.evaluate.runs import adapt
from diffpref.models.checkpointing import Keep
from diffpref.models.shapes import Shapes, shapes_of
from diffpref.run.memory import (
    OPTIMIZER_BYTES,
    Footprint,
    Trained,
    Worked,
    copies_of,
    footprint,
)
from diffpref.run.rollouts.online import rows_per_step

GIB = 2**30
CARDS = (8, 12, 16, 24, 48, 80)
"""GiB of common cards."""

USABLE = 0.95
OVERHEAD = 1.5 * GIB
"""Assumed for the device's context, kernels' work space and fragmentation; not measured."""

IMAGES = {"pairs": 2, "images": 1, "unpaired": 1, "lists": 4}
"""Images of an item of data; lists are assumed to be of four."""

PAIR = 2

WORK: dict[Keep, float] = {False: 1.0, "keep_matmuls": 1.01, "keep_convs": 1.16, True: 1.25}
"""Arithmetic of a step relative to keeping everything: Diffusion-DPO with all weights trained, on
SDXL; other methods differ a little. Passes smaller than a micro-batch add `FORWARD`."""

FORWARD = 0.25


@dataclass(frozen=True, kw_only=True)
class Change:
    """What to change in a configuration: what is kept, images per pass, the optimizer."""

    what: str
    keep: Keep
    rows: int | None = None
    optimizer: str | None = None


CHANGES = (
    Change(what="gradient_checkpointing=false", keep=False),
    Change(what="gradient_checkpointing=keep_matmuls", keep="keep_matmuls"),
    Change(what="gradient_checkpointing=keep_convs", keep="keep_convs"),
    Change(what="gradient_checkpointing=true", keep=True),
    Change(what="... and loop.rows_per_pass=2", keep=True, rows=PAIR),
    Change(what="... and loop.rows_per_pass=1", keep=True, rows=1),
    Change(what="... and optimizer.name=adamw8bit", keep=True, rows=1, optimizer="adamw8bit"),
)
"""From the cheapest in time to the smallest; every one is of a whole micro-batch unless it says."""


@dataclass(frozen=True, kw_only=True)
class Fit:
    """A configuration as it is, or changed.

    work: arithmetic relative to keeping all activations.
    """

    what: str
    footprint: Footprint
    work: float

    @property
    def total(self) -> int:
        """Bytes, `OVERHEAD` included."""
        return int(self.footprint.total + OVERHEAD)

    @property
    def card(self) -> int | None:
        """The smallest of `CARDS` it fits, in GiB, or None."""
        return next((card for card in CARDS if self.total <= USABLE * card * GIB), None)


def fits(config: RunConfig) -> Iterator[Fit]:
    """Yield the configuration and its smaller forms, as they are found.

    Raises:
        ConfigError: the shapes of the base are not known.
        HubError: its configs are out of reach.
    """
    shapes = shapes_of(config.model.base, dtype=config.model.dtype, revision=config.model.revision)
    adapt(shapes, config)
    held, keep = held_rows(config), config.model.gradient_checkpointing
    own = Change(what="as configured", keep=keep, rows=config.loop.rows_per_pass)
    for change in (own, *CHANGES):
        yield _fit(config, shapes, change, held)


def held_rows(config: RunConfig) -> int:
    """Return the images of a micro-batch of one process."""
    if config.data is not None:
        unit = "unpaired" if config.data.unpaired else find_method(config.method.name).data
        return config.data.pairs_per_batch * IMAGES[unit]
    rollout = config.rollout
    if rollout is None:
        what, hint = "there is nothing to learn from", "name data: or rollout:"
        raise ConfigError(what, where="data", hint=hint)
    objective = build_objective(
        config.method.name, stand_in(rollout), config.method.settings, config.parts
    )
    rows = rows_per_step(rollout, config.method.name, objective)
    return max(1, rows // config.loop.micro_batches)


def _fit(config: RunConfig, shapes: Shapes, change: Change, held: int) -> Fit:
    side = _side(config, shapes)
    rows = min(held, change.rows or held)
    found = footprint(
        Trained(
            unet=shapes.unet,
            family=shapes.family,
            dtype=shapes.dtype,
            # on cached data a step needs neither; pictures made in between hold no activations
            rest=() if config.rollout is None else shapes.rest,
        ),
        shapes.told(),
        Worked(
            rows=rows,
            latent=shapes.latent_shape(side, side),
            keep=change.keep,
            accumulates=config.loop.micro_batches > 1 or rows < held,
        ),
        copies=copies_of(config),
        optimizer_bytes=OPTIMIZER_BYTES[change.optimizer or config.optimizer.name],
    )
    work = WORK[change.keep] + FORWARD * (rows < held)
    return Fit(what=change.what, footprint=found, work=work)


def _side(config: RunConfig, shapes: Shapes) -> int:
    asked = config.data.resolution if config.data is not None else None
    if config.rollout is not None:
        asked = config.rollout.resolution
    return asked or shapes.resolution
