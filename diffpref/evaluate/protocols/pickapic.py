"""The accuracy of PickScore's paper, where a prediction may be a tie."""

from math import tanh

from diffpref.evaluate.protocols.item import Credit, Judged

THRESHOLDS = tuple(k / 10 for k in range(11))
"""What the validation set chooses from; the smallest of equally good ones is taken."""


def pickapic_v1_paper(item: Judged, *, threshold: float, temperature: float) -> Credit:
    r"""Credit one pair as PickScore's evaluation does: 1, 1/2 or 0.

    Rule:
        p = softmax(scores / temperature); the prediction is a tie if |p_1 - p_0| <= threshold,
        else the image of larger p. Credit 1 if prediction and label agree (ties included), 1/2
        if exactly one of them is a tie, 0 otherwise. The accuracy is the mean over all rows,
        label ties included. The threshold is the one of THRESHOLDS that is best on the
        validation set.

    Units:
        temperature is the scorer's own: 1 for PickScore, whose score is logit scale x cosine.

    Source:
        Kirstain et al., 2305.01569; trainer/scripts/eval_preference_predictor.py of PickScore.
        Published: 70.5 for PickScore on test_unique, tuned on validation_unique.

    Departs from the released code:
        Probabilities are float64, released: float32; a pair within 1e-7 of the threshold may
        fall on its other side.
    """
    ((label, gap),) = item.gaps()
    # For two images, softmax gives p_0 - p_1 = tanh((s_0 - s_1) / 2).
    said = tanh(gap / temperature / 2)
    tied = abs(said) <= threshold
    if tied or label == 0:
        return Credit(1.0 if tied and label == 0 else 0.5, 1.0, int(tied))
    return Credit(float((said > 0) == (label > 0)), 1.0, 0)
