"""Whether an online run learns from what it sampled: before any update no ratio has moved."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from diffpref.catalogue import find_method
from diffpref.run.assemble import Assembled

MUST_BE_0 = ("margin", "log_ratio", "step_kl")
"""`margin` is the logit without beta, so that one tolerance serves every beta."""

TOLERANCE = {
    torch.float64: 1e-8,
    torch.float32: 1e-3,
    torch.float16: 5e-3,
    torch.bfloat16: 5e-2,
}
"""Per latent element. Batches of another shape round differently; the gain b / sigma of the last
steps and guidance make that more: in half precision up to these, see the table of the step kernel
(METHODS_ONLINE_PERSONAL.md, 1.1)."""

Measured = Callable[[int, Mapping[str, Tensor]], None]


def first_update(run: Assembled, say: Callable[[str], None]) -> Measured:
    """Return what warns, at step 0, of a step or walk method whose ratios do not begin at 0.

    Frozen rounds are left out: another policy sampled them.
    """
    online = run.online is not None and run.online.config.frozen is None
    checked = online and find_method(run.config.method.name).data in ("steps", "walks")

    def measured(step: int, metrics: Mapping[str, Tensor]) -> None:
        told = moved(metrics, run.bundle.dtype) if checked and step == 0 else None
        if told is not None:
            say(told)

    return measured


def moved(metrics: Mapping[str, Tensor], dtype: torch.dtype) -> str | None:
    """Return a warning about the first of MUST_BE_0 that is not 0 to the precision's tolerance."""
    for name in MUST_BE_0:
        worst = float(metrics[name].abs().max()) if name in metrics else 0.0
        if not worst <= TOLERANCE[dtype]:
            return (
                f"before the first update {name} is {worst:.2g} and must be 0: rollout and "
                "training most likely differ in batch shape or dtype; try model.dtype=fp32, and "
                "rollout.images_at_once equal to loop.rows_per_pass"
            )
    return None
