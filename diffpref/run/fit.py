"""Which card a configuration fits, and what would make it fit: no weights are needed."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from diffpref.catalogue import build_objective, find_method
from diffpref.config.schema import RunConfig
from diffpref.config.stand_in import stand_in
from diffpref.errors import ConfigError
from diffpref.evaluate.runs import adapt
from diffpref.models.checkpointing import Keep
from diffpref.models.shapes import Shapes, shapes_of
from diffpref.run.fit_changes import Changed, changes_of
from diffpref.run.memory import Footprint, copies_of, footprint, state_bytes, worked
from diffpref.run.peak import Trained, Worked, peak_of
from diffpref.run.rollouts.online import rows_per_step

GIB = 2**30
CARDS = (8, 12, 16, 24, 48, 80)
"""GiB of common cards."""

USABLE = 0.95
OVERHEAD = 1.5 * GIB
"""Assumed for the device's context, kernels' work space and fragmentation; not measured."""

IMAGES = {"pairs": 2, "images": 1, "unpaired": 1, "lists": 4}
"""Images of an item of data; lists are assumed to be of four."""


WORK: dict[Keep, float] = {False: 1.0, "keep_matmuls": 1.01, "keep_convs": 1.16, True: 1.25}
"""Arithmetic of a step relative to keeping everything: Diffusion-DPO with all weights trained, on
SDXL; other methods differ a little. Passes that cut a prompt in two add `FORWARD`."""

FORWARD = 0.25


@dataclass(frozen=True, kw_only=True)
class Fit:
    """A configuration as it is, or changed.

    work: arithmetic relative to keeping all activations. faithful: see `Change`.
    """

    what: str
    footprint: Footprint
    work: float
    faithful: bool = True

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
    config = _kept(config)
    shapes, peaks = _shapes(config), dict[Worked, int]()
    yield _fit("as configured", config, shapes, peaks)
    faithful = True
    for change in changes_of(config):
        before, config = config, _changed(config, change.to)
        if config.adapter != before.adapter:
            shapes, peaks = _shapes(config), {}
        found = _fit(change.what, config, shapes, peaks)
        faithful = faithful and change.faithful
        yield replace(found, faithful=faithful)


def _kept(config: RunConfig) -> RunConfig:
    """Return the configuration as it is on a card of any size, where `auto` keeps everything."""
    if config.model.gradient_checkpointing != "auto":
        return config
    return _changed(config, {"model": {"gradient_checkpointing": False}})


def _changed(config: RunConfig, to: Changed) -> RunConfig:
    sections = {
        name: getattr(config, name).model_copy(update=dict(fields)) for name, fields in to.items()
    }
    return config.model_copy(update=sections)


def _shapes(config: RunConfig) -> Shapes:
    model = config.model
    shapes = shapes_of(model.base, dtype=model.dtype, revision=model.revision)
    adapt(shapes, config)
    return shapes


def held_rows(config: RunConfig) -> int:
    """Return the images of a micro-batch of one process."""
    if config.data is not None:
        return config.data.pairs_per_batch * images_of(config)
    rollout = config.rollout
    if rollout is None:
        what, hint = "there is nothing to learn from", "name data: or rollout:"
        raise ConfigError(what, where="data", hint=hint)
    objective = build_objective(
        config.method.name, stand_in(rollout), config.method.settings, config.parts
    )
    rows = rows_per_step(rollout, config.method.name, objective)
    return max(1, rows // config.loop.micro_batches)


def _fit(what: str, config: RunConfig, shapes: Shapes, peaks: dict[Worked, int]) -> Fit:
    side, held = side_of(config, shapes.resolution), held_rows(config)
    rows = min(held, config.loop.rows_per_pass or held)
    model = Trained(
        unet=shapes.unet,
        family=shapes.family,
        dtype=shapes.dtype,
        # on cached data a step needs neither; pictures made in between hold no activations
        rest=() if config.rollout is None else shapes.rest,
    )
    work = worked(config, latent=shapes.latent_shape(side, side), rows=rows, held=held)
    if work not in peaks:
        peaks[work] = peak_of(model, shapes.told(), work)
    found = footprint(
        model,
        shapes.told(),
        work,
        copies=copies_of(config),
        optimizer_bytes=state_bytes(config, shapes.unet),
        peak=peaks[work],
    )
    keep = config.model.gradient_checkpointing
    assert keep != "auto"  # decided by now
    again = rows < held and rows % images_of(config) > 0
    return Fit(what=what, footprint=found, work=WORK[keep] + FORWARD * again)


def images_of(config: RunConfig) -> int:
    """Return the images of an item: rows that a pass should not part."""
    if config.data is None:
        return 1
    unit = "unpaired" if config.data.unpaired else find_method(config.method.name).data
    return IMAGES[unit]


def side_of(config: RunConfig, own: int) -> int:
    """Return the pixels a side of a run's images; `own` are the model's."""
    asked = config.data.resolution if config.data is not None else None
    if config.rollout is not None:
        asked = config.rollout.resolution
    return asked or own
