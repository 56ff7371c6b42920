"""How often a scorer agrees with people, by a named protocol, with an interval over prompts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from diffpref.errors import DataError, UsageError, nearest
from diffpref.evaluate.bootstrap import BOOTSTRAPS, bootstrap_ratio
from diffpref.evaluate.protocols import PROTOCOLS, Credit, Judged, Named

Rule = Callable[[Judged], Credit]


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """An accuracy and what it was taken over.

    `low` and `high` are the 95 % bootstrap interval over `prompts`; items of one prompt stay
    together. `pairs` are those that count; of the pairs, people tied `label_ties` (dropped or not
    as the protocol says) and the rule calls `score_ties` a tie from their scores. `left_out` items
    have nothing to compare. `threshold` was chosen for its accuracy `tuned_to` on the validation
    set; both are None for other protocols.
    """

    protocol: str
    value: float
    low: float
    high: float
    items: int
    prompts: int
    pairs: int
    label_ties: int
    score_ties: int
    left_out: int
    threshold: float | None = None
    tuned_to: float | None = None


def measure(
    protocol: str,
    items: Sequence[Judged],
    *,
    validation: Sequence[Judged] = (),
    temperature: float = 1.0,
    bootstraps: int = BOOTSTRAPS,
    seed: int = 0,
) -> Accuracy:
    """Return the accuracy of a scorer's scores by a protocol of PROTOCOLS.

    Args:
        protocol: its name.
        items: rows with labels and scores.
        validation: rows that a tuned protocol chooses its threshold on; others ignore them.
        temperature: of the scorer's softmax, in units of its score; used by tuned protocols.
        bootstraps: resamples of the prompts.
        seed: of the resamples.

    Returns:
        The accuracy with its counts.

    Raises:
        UsageError: there is no such protocol, or it needs a validation set.
        DataError: there is nothing to compare, or a row does not fit the protocol.
    """
    named = find_protocol(protocol)
    used = _comparable(protocol, named, items)
    rule, threshold, tuned_to = _tuned(protocol, named, validation, temperature)
    found = [(item, rule(item)) for item in used]
    counted = [(item, credit) for item, credit in found if credit.of]
    if not counted:
        hint = f"every pair is tied; {protocol} compares: {named.about}"
        raise DataError("there is nothing to compare", where=protocol, hint=hint)
    prompts = {text: n for n, text in enumerate(dict.fromkeys(item.prompt for item, _ in counted))}
    sums = torch.zeros(2, len(prompts), dtype=torch.float64)
    for item, credit in counted:
        sums[:, prompts[item.prompt]] += torch.tensor([credit.right, credit.of]).double()
    low, high = bootstrap_ratio(sums[0], sums[1], bootstraps, seed)
    ties = sum(item.label_ties for item in used)
    return Accuracy(
        protocol=protocol,
        value=_mean([credit for _, credit in counted]),
        low=low,
        high=high,
        items=len(counted),
        prompts=len(prompts),
        pairs=sum(item.pairs for item in used) - (ties if named.drops_label_ties else 0),
        label_ties=ties,
        score_ties=sum(credit.tied for _, credit in found),
        left_out=len(items) - len(counted),
        threshold=threshold,
        tuned_to=tuned_to,
    )


def find_protocol(name: str) -> Named:
    """Return a protocol.

    Raises:
        UsageError: there is none of this name.
    """
    if name not in PROTOCOLS:
        hint = nearest(name, PROTOCOLS)
        raise UsageError(f"'{name}' is not a protocol", where="--protocol", hint=hint)
    return PROTOCOLS[name]


def _tuned(
    protocol: str, named: Named, validation: Sequence[Judged], temperature: float
) -> tuple[Rule, float | None, float | None]:
    """Return the rule with the threshold that is best on the validation set, if it has one."""
    if not named.thresholds:
        return named.credit, None, None
    rows = _comparable(f"{protocol}, validation", named, validation) if validation else []
    if not rows:
        hint = "give --validation SOURCE: pairs that are not those of the test"
        raise UsageError("its threshold is tuned on a validation set", where=protocol, hint=hint)
    rules = [
        partial(named.credit, threshold=each, temperature=temperature) for each in named.thresholds
    ]
    means = [_mean([rule(item) for item in rows]) for rule in rules]
    best = means.index(max(means))
    return rules[best], named.thresholds[best], means[best]


def _mean(credits: Sequence[Credit]) -> float:
    return sum(credit.right for credit in credits) / sum(credit.of for credit in credits)


def _comparable(where: str, named: Named, items: Sequence[Judged]) -> list[Judged]:
    """Return the items of several images; one that the protocol cannot read is an error."""
    used = [item for item in items if item.pairs]
    for item in used if named.two_images else ():
        if item.pairs != 1:
            what = f"{where} compares two images a row, {item.where} has {len(item.labels)}"
            hint = "choose a protocol for ranked lists: hpdv2_inversion or imagereward_micro"
            raise DataError(what, where="--protocol", hint=hint)
    if not used:
        hint = "a row needs two images or more: single likes cannot be compared"
        raise DataError("there is nothing to compare", where=where, hint=hint)
    return used
