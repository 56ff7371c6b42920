"""The accuracy that drops every pair people tied."""

from diffpref.evaluate.protocols.item import Credit, Judged


def strict_pairs(item: Judged) -> Credit:
    r"""Credit every pair people told apart by whether the better image scores strictly higher.

    Rule:
        Pairs that people tied are dropped; equal scores are wrong; pairs are pooled. On ranked
        lists this is `imagereward_micro`; the name says which published table a number belongs to.

    Source:
        imscore, bench.md. Its numbers are this rule's: 0.801887 on Pick-a-Pic v2 is 340 of the 424
        pairs of test_unique that are no tie, and 0.667448 on ImageReward 4,271 of 6,399. The first
        cannot be compared with the 70.5 of `pickapic_v1_paper`, which counts all 500.
    """
    right = of = tied = 0
    for label, gap in item.gaps():
        tied += gap == 0
        if label:
            of += 1
            right += gap != 0 and (gap > 0) == (label > 0)
    return Credit(float(right), float(of), tied)
