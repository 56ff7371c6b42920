"""Measures a trained head on votes it has not seen, beside what anybody could reach."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from jaxtyping import Int
from torch import Tensor

from diffpref.evaluate.judged import judged, reliability
from diffpref.evaluate.known import Truth, attainable_taste, through_features
from diffpref.evaluate.reward_report import Contender, Findings
from diffpref.evaluate.shots import Learn, Progress, learn_with, shots, with_people
from diffpref.evaluate.taste import census, recovered
from diffpref.rewards.heads.division import By, Division
from diffpref.rewards.heads.fit import Fitted
from diffpref.rewards.heads.head import Head
from diffpref.rewards.heads.items import cosine
from diffpref.rewards.heads.pairs import Pairs
from diffpref.types import PerRow

Judge = Callable[[Pairs], PerRow]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The findings, and the head with the test's new people, fitted to their support votes."""

    findings: Findings
    head: Head


@dataclass(frozen=True, kw_only=True)
class Known:
    """Where people's tastes are known: the truth, every pair it is asked of, and P(first)."""

    truth: Truth
    asked: Pairs
    chance: PerRow


def measure(
    fitted: Fitted,
    division: Division,
    by: By,
    truth: Truth | None = None,
    *,
    progress: Progress | None = None,
) -> Measured:
    """Measure a head on the test votes of a division.

    Args:
        fitted: the head and its training history.
        division: the votes; test people are fitted to their support votes first.
        by: what is new in the test, which is what intervals resample.
        truth: of the bundled world's people, for expected accuracies and ceilings.
        progress: told while few-vote accuracies are measured.

    Raises:
        DataError: there are no test votes.
    """
    before, test = fitted.head, division.test
    new = before.kind.personal and len(division.support) > 0
    support = {name: division.support.of(name) for name in test.voters()} if new else {}
    head = with_people(before, support)
    known = None if truth is None else _known(truth, test)
    judges = {head.name: head.judge}
    if new:
        judges[f"{head.name}, without their votes"] = before.judge
    judges[f"{head.embedder.scorer} alone"] = own_scores
    if truth is not None:
        judges |= _ceilings(truth, division, head)
    findings = Findings(
        contenders=[_contender(name, judge, test, known, by) for name, judge in judges.items()],
        history=fitted.history,
        reliability=reliability(head.judge(test), test.share),
        taste=None if known is None else recovered(head.judge, known.asked, known.truth),
    )
    if new:
        findings = _with_shots(findings, before, division, known, progress)
    return Measured(findings=findings, head=head)


def own_scores(pairs: Pairs) -> PerRow:
    """Return the difference of the embedder's own cosines."""
    first, second = pairs.sides()
    return cosine(first) - cosine(second)


def _known(truth: Truth, test: Pairs) -> Known:
    asked = census(test, test.voters())
    return Known(truth=truth, asked=asked, chance=truth.probability(asked))


def _ceilings(truth: Truth, division: Division, head: Head) -> dict[str, Judge]:
    """Return who knows more than a head can: see `diffpref.evaluate.known`."""
    seen = division.support if len(division.support) else division.train
    votes = {name: seen.of(name) for name in division.test.voters()}
    return {
        "exact population": truth.everyone,
        "exact taste, seen through the features": through_features(
            truth, division.train, division.test, head.scales
        ).own,
        "attainable with these votes": _learn_exactly(truth)(votes),
        "exact own utility": truth.own,
    }


def _learn_exactly(truth: Truth) -> Learn:
    def learn(support: Mapping[str, Pairs]) -> Judge:
        tastes = {name: attainable_taste(truth, votes) for name, votes in support.items()}
        return lambda pairs: truth.under(tastes, pairs)

    return learn


def _contender(name: str, judge: Judge, test: Pairs, known: Known | None, by: By) -> Contender:
    votes = judged(judge(test), test.share, units(test, by))
    if known is None:
        return Contender(name=name, votes=votes)
    expected = judged(judge(known.asked), known.chance, units(known.asked, by))
    return Contender(name=name, votes=votes, expected=expected)


def units(pairs: Pairs, by: By) -> Int[Tensor, " n"]:
    """Return whom or what intervals resample: the person or the prompt of each pair."""
    return pairs.person if by == "user" else pairs.prompt


def _with_shots(
    findings: Findings,
    head: Head,
    division: Division,
    known: Known | None,
    progress: Progress | None,
) -> Findings:
    support, asked, share = division.support, division.test, division.test.share
    if known is None:
        few = shots(learn_with(head), support, asked, share, progress=progress)
        return replace(findings, shots=few)
    few = shots(learn_with(head), support, known.asked, known.chance, progress=progress)
    most = shots(_learn_exactly(known.truth), support, known.asked, known.chance)
    return replace(findings, shots=few, attainable_shots=most)
