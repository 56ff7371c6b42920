"""What the leaderboard compares, and the search every row gets."""

from dataclasses import dataclass, replace
from typing import Literal

Data = Literal["votes", "reward", "lists", "unpaired"]
"""People's votes on pairs; the same pairs scored by the bundled reward; the four images of a
prompt scored by it; the votes as single images."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A method or an ablation: a preset of configs/shapes and what it changes.

    Attributes:
        preset: name under configs/shapes.
        data: what it learns from.
        overrides: `a.b=c` on top of the preset.
        afford: a row; this one trains on only as many pairs as that row can for the compute of
            Diffusion-DPO. None trains on as many pairs as Diffusion-DPO.
        group: `method`, or the name of the ablation it belongs to.
        thorough: search the learning rate with runs of the full length and of all training seeds,
            still on validation prompts only, instead of short runs of the first seed.
        rate_of: a row whose learning rate is taken instead of searching one.
        times: how often the form's pairs are drawn.
    """

    preset: str
    data: Data = "votes"
    overrides: tuple[str, ...] = ()
    afford: str | None = None
    group: str = "method"
    thorough: bool = False
    rate_of: str | None = None
    times: int = 1


@dataclass(frozen=True, kw_only=True)
class Form:
    """How much is spent on every row.

    Attributes:
        draws: pairs drawn by a run, repeats counted.
        search_draws: pairs drawn by a run of the learning-rate search.
        rates: learning rates tried, the same for every row.
        pairs: pairs of one optimizer step.
    """

    draws: int
    search_draws: int
    rates: tuple[float, ...]
    pairs: int = 16
    validation_prompts: int = 64
    test_prompts: int = 256
    sampler_steps: int = 12
    seeds: tuple[int, ...] = (0, 1, 2)


FORMS = {
    "short": Form(draws=1500, search_draws=500, rates=(1e-3, 3e-3)),
    "full": Form(draws=4000, search_draws=1000, rates=(3e-4, 1e-3, 3e-3, 1e-2)),
}

REFERENCE_ROW = "diffusion_dpo"
"""The row every other is compared with, next to the base."""

LEGACY = ("method.grid=legacy",)
TOLD_TARGET = ("method.eval_at=target",)
INVERTS_BY_REFERENCE = ("method.network=reference",)

ROWS: dict[str, Row] = {
    "diffusion_dpo": Row(preset="dpo"),
    "sft": Row(preset="sft"),
    "weighted_sft": Row(preset="weighted_sft", data="reward"),
    "ipo": Row(preset="dpo", overrides=("parts.loss=squared",)),
    "hinge": Row(preset="dpo", overrides=("parts.loss=hinge",)),
    "cdpo": Row(preset="dpo", overrides=("parts.loss={kind: cross_entropy, epsilon: 0.1}",)),
    "rdpo": Row(preset="dpo", overrides=("parts.loss={kind: robust, epsilon: 0.1}",)),
    "dmpo": Row(preset="dmpo"),
    "alpha_dpo": Row(preset="alpha_dpo"),
    "dpo_by_reward": Row(preset="dpo", data="reward"),
    "odpo": Row(preset="odpo", data="reward"),
    "beta_dpo": Row(preset="beta_dpo"),
    "sdpo": Row(preset="sdpo"),
    "dspo": Row(preset="dspo"),
    "linear_dpo": Row(preset="linear_dpo", data="reward"),
    "rethinking_dpo": Row(preset="rethinking_dpo"),
    "inpo": Row(preset="inpo"),
    "smpo": Row(preset="smpo", data="reward"),
    "ncp_dpo": Row(preset="ncp_dpo"),
    "ncp_cpo": Row(preset="ncp_cpo"),
    "ncp_sft": Row(preset="ncp_sft"),
    "mapo": Row(preset="mapo"),
    "cpo": Row(preset="cpo"),
    "simpo": Row(preset="simpo"),
    "orpo": Row(preset="orpo"),
    "diffusion_kto": Row(preset="diffusion_kto", data="unpaired"),
    "rank_dpo": Row(preset="rank_dpo", data="lists"),
    "plackett_luce": Row(preset="plackett_luce", data="lists"),
    "inpo_equal_compute": Row(preset="inpo", afford="inpo", group="equal compute"),
    "smpo_equal_compute": Row(preset="smpo", data="reward", afford="smpo", group="equal compute"),
    "dpo_at_inpo_pairs": Row(preset="dpo", afford="inpo", group="fewer pairs"),
    "inpo_legacy": Row(preset="inpo", overrides=LEGACY, group="grid"),
    "smpo_legacy": Row(preset="smpo", data="reward", overrides=LEGACY, group="grid"),
    "inpo_told_target": Row(preset="inpo", overrides=TOLD_TARGET, group="told step"),
    "smpo_told_target": Row(preset="smpo", data="reward", overrides=TOLD_TARGET, group="told step"),
    "inpo_by_reference": Row(preset="inpo", overrides=INVERTS_BY_REFERENCE, group="inverter"),
    "smpo_by_reference": Row(
        preset="smpo", data="reward", overrides=INVERTS_BY_REFERENCE, group="inverter"
    ),
    "ncp_normalised": Row(
        preset="ncp_dpo", overrides=("method.normalise=true", "method.beta=7"), group="c_t"
    ),
    "sdpo_per_batch": Row(preset="sdpo", overrides=("method.per=batch",), group="lambda"),
    "rethinking_fixed_reference": Row(
        preset="rethinking_dpo",
        overrides=("reference={kind: adapters_off}",),
        group="reference",
    ),
    "dpo_moving_reference": Row(
        preset="dpo",
        overrides=("reference={kind: moving, refresh_every: 16, budget: 0.005}",),
        group="reference",
    ),
}

FULL_SEARCH = (
    "diffusion_dpo",
    "dmpo",
    "beta_dpo",
    "smpo",
    "ncp_dpo",
    "ncp_cpo",
    "ncp_sft",
    "simpo",
)
"""Rows run once more with a thorough search: the form's own, at a third of the draws, takes a
learning rate that is too large for the whole run (docs/log.md, 2026-11-25)."""

ROWS |= {
    f"{name}_full_search": replace(ROWS[name], group="full search", thorough=True)
    for name in FULL_SEARCH
}

LONG = ("diffusion_dpo", "ncp_dpo", "ncp_cpo", "ncp_sft")
"""Rows run once more on four times the pairs: NCP's few effective pairs."""

ROWS |= {
    f"{name}_four_times": replace(
        ROWS[name], group="four times the pairs", times=4, rate_of=f"{name}_full_search"
    )
    for name in LONG
}

ROWS["ncp_dpo_logit_scale"] = replace(
    ROWS["ncp_dpo"],
    overrides=("method.beta=40000",),
    group="beta",
    rate_of="ncp_dpo_full_search",
)
ROWS["simpo_anchored"] = replace(
    ROWS["simpo"], overrides=("parts.anchor={kind: winner, weight: 25}",), group="anchor"
)
ROWS["ncp_cpo_anchored"] = replace(
    ROWS["ncp_cpo"], overrides=("method.weight=50000",), group="anchor", thorough=True
)
ROWS["ncp_cpo_anchored_four_times"] = replace(
    ROWS["ncp_cpo_anchored"],
    group="four times the pairs",
    thorough=False,
    times=4,
    rate_of="ncp_cpo_anchored",
)
