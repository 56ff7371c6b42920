"""The ranking accuracy of HPS v2 on its own test set."""

from diffpref.evaluate.protocols.item import Credit, Judged


def hpdv2_inversion(item: Judged) -> Credit:
    r"""Credit a ranked list by the share of pairs that are not inverted.

    Rule:
        1 - inversions / (n (n - 1) / 2), where a pair is an inversion if the predicted ranks say
        strictly one way and the label ranks strictly the other: a pair that people tied is never
        one. Predicted ranks are a permutation, so equal scores are told apart by their position,
        the earlier image first. The accuracy is the mean over lists, however long.

    Source:
        Wu et al., 2306.09341; HPSv2, evaluate_rank of hpsv2/evaluation.py and inversion_score of
        hpsv2/src/training/train.py. Published: 83.3 for HPS v2, 84.1 for v2.1.

    Departs from the released code:
        Equal scores keep their order; the released sort is not stable. MPS's copy of the rule
        gives equal scores no inversion at all (eval_overall_mps_on_hpdv2.py).
    """
    inverted = tied = 0
    for label, gap in item.gaps():
        tied += gap == 0
        # gaps() yields i before j, so at equal scores the earlier image i has the better rank.
        inverted += label < 0 if gap >= 0 else label > 0
    return Credit(1 - inverted / item.pairs, 1.0, tied)
