"""What makes a configuration smaller, from the cheapest in time to the smallest."""

from collections.abc import Mapping
from dataclasses import dataclass

from diffpref.config.schema import RunConfig

PAIR = 2


Changed = Mapping[str, Mapping[str, object]]
"""Section -> field -> value."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """What to change in a configuration, beside the changes before it.

    `faithful` says that what is learnt stays the same but for rounding.
    """

    what: str
    to: Changed
    faithful: bool = True


CHANGES = (
    Change(what="gradient_checkpointing=false", to={"model": {"gradient_checkpointing": False}}),
    Change(
        what="gradient_checkpointing=keep_matmuls",
        to={"model": {"gradient_checkpointing": "keep_matmuls"}},
    ),
    Change(
        what="gradient_checkpointing=keep_convs",
        to={"model": {"gradient_checkpointing": "keep_convs"}},
    ),
    Change(what="gradient_checkpointing=true", to={"model": {"gradient_checkpointing": True}}),
    Change(what="... and loop.rows_per_pass=2", to={"loop": {"rows_per_pass": PAIR}}),
)


ONE_ROW = Change(what="... and loop.rows_per_pass=1", to={"loop": {"rows_per_pass": 1}})
"""From the cheapest in time to the smallest; every one is of a whole micro-batch unless it says."""


EIGHT_BITS = Change(
    what="... and optimizer.name=adamw8bit", to={"optimizer": {"name": "adamw8bit"}}
)


OFFLOADED = Change(what="... and reference.offload=true", to={"reference": {"offload": True}})


NARROW = (
    Change(what="... and adapter.precision=split", to={"adapter": {"precision": "split"}}),
    Change(
        what="... and adapter.precision=stochastic", to={"adapter": {"precision": "stochastic"}}
    ),
)


EAGER = (
    Change(
        what="... and in_backward, a step of one pair, max_grad_norm=null",
        to={
            "optimizer": {"in_backward": True},
            "loop": {"rows_per_pass": None, "micro_batches": 1, "max_grad_norm": None},
            "data": {"pairs_per_batch": 1},
        },
        faithful=False,
    ),
    Change(
        what="... and optimizer.name=adafactor_flat",
        to={"optimizer": {"name": "adafactor_flat"}},
        faithful=False,
    ),
)
"""Updating in the backward pass leaves no window to add gradients over and no norm to clip: another
recipe. So is another optimizer."""


def changes_of(config: RunConfig) -> tuple[Change, ...]:
    """Return the changes that make sense for a configuration, each on top of those before."""
    own = config.reference.kind in ("frozen", "ema", "moving") and not config.reference.offload
    offloaded = (OFFLOADED,) if own else ()
    smaller = (EIGHT_BITS,) if config.optimizer.name == "adamw" else ()
    if config.adapter.kind != "full" or config.model.dtype != "bf16" or config.data is None:
        return (*CHANGES, ONE_ROW, *offloaded, *smaller)
    return (*CHANGES, *offloaded, *NARROW, *smaller, ONE_ROW, *EAGER)
