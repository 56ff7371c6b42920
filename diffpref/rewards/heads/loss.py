r"""The loss of a pair: cross entropy with the vote, with a margin and smoothed labels.

    y = (1 - eps) p + eps (1 - p),          z = u - m (2 p - 1)
    L = - y log sigma(z) - (1 - y) log sigma(-z)

u are the log odds that the first is preferred, p its share of votes (1, 0, or 1/2 for a tie), m a
margin by which the preferred one must win, eps the share of votes believed wrong (as cDPO's labels
in diffpref.losses). Exchanging the two pictures changes nothing; a tie has no margin.
"""

from torch.nn.functional import logsigmoid

from diffpref.types import PerRow


def pair_loss(
    logit: PerRow, share: PerRow, *, margin: float = 0.0, smoothing: float = 0.0
) -> PerRow:
    """Return the loss of each pair.

    Args:
        logit: log odds that the first picture is preferred.
        share: the first picture's share of the votes, 0 to 1.
        margin: in log odds, at least 0.
        smoothing: share of votes believed wrong, 0 to below 1/2.
    """
    believed = (1 - smoothing) * share + smoothing * (1 - share)
    ahead = logit - margin * (2 * share - 1)
    return -believed * logsigmoid(ahead) - (1 - believed) * logsigmoid(-ahead)
