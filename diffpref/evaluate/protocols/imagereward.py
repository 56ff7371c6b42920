"""The two accuracies published for ImageReward's test set, which differ in how pairs are pooled."""

from diffpref.evaluate.protocols.item import Credit, Judged
from diffpref.evaluate.protocols.strict import strict_pairs


def imagereward_micro(item: Judged) -> Credit:
    r"""Credit the pairs of a ranked list that are in the order people gave; pooled over lists.

    Rule:
        Pairs that people tied are dropped. Of the others a pair is right if the scores differ
        strictly in the same direction; equal scores are wrong. The accuracy is right pairs over
        all pairs of the data set, so long lists count more.

    Source:
        ImageReward, acc of test.py. Published: 65.14 for ImageReward v1.0 on 466 lists, 6,399
        pairs (831 more are tied).
    """
    return strict_pairs(item)


def imagereward_per_prompt(item: Judged) -> Credit:
    r"""Credit a ranked list by its share of right pairs, so that every list counts the same.

    Rule:
        The share of `imagereward_micro` of each list; the accuracy is the mean over lists.

    Source:
        HPSv2, calc_ImageReward of hpsv2/src/training/train.py and evaluate_IR of
        hpsv2/evaluation.py; the caption of ImageReward's table, 2304.05977.

    Departs from the released code:
        A list whose images are all tied is left out and counted; the released code divides by 0.
    """
    right, of, tied = strict_pairs(item)
    return Credit(right / of, 1.0, tied) if of else Credit(0.0, 0.0, tied)
