"""What makes two scores comparable: a hash of everything a scorer's numbers depend on."""

import json
from hashlib import blake2b

from diffpref.rewards.scorer import LoadedScorer


def identity(scorer: LoadedScorer, dtype: str) -> str:
    """Return a hash of what a score depends on: the scorer, its weights, how it sees and reads.

    Args:
        scorer: who scores.
        dtype: the precision it was loaded in.
    """
    info = scorer.info
    weights = sorted(each.sha256 for each in info.weights)
    told = [info.id, weights, info.preprocess_id, info.tokenizer_id, dtype]
    return blake2b(json.dumps(told).encode(), digest_size=16).hexdigest()
