"""The simplest way to show a person their pictures: of many of a model, those they may like.

Whatever makes better ones, such as a model with a user adapter, is another `show.Show`.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from diffpref.evaluate.opened import Opened
from diffpref.evaluate.pictures import to_bytes, to_picture
from diffpref.models.sample import Progress, sample
from diffpref.models.sample_settings import SampleSettings
from diffpref.rate.show import Row, Show, Tell
from diffpref.rate.studio import Turn
from diffpref.rewards import LoadedScorer
from diffpref.users.profile import UserProfile
from diffpref.users.reward import profile_scorer

MANY, KEPT = 16, 4
SEED = 1_000_003
"""Of the first picture shown; far from the seeds of the pictures rated."""


def best_of(
    opened: Opened,
    embedder: LoadedScorer,
    settings: SampleSettings,
    *,
    lock: Turn,
    many: int = MANY,
    kept: int = KEPT,
) -> Show:
    """Return what shows the best of many pictures by a profile, above the first few unselected.

    Args:
        opened: the model that makes them.
        embedder: the scorer whose embeddings the profile reads.
        settings: how the model samples.
        lock: held while the model works.
        many: how many pictures are made.
        kept: how many are shown of each row.
    """

    def show(profile: UserProfile, prompt: str, tell: Tell) -> Sequence[Row]:
        with lock:
            images = sample(
                opened.bundle,
                [prompt] * many,
                seed=list(range(SEED, SEED + many)),
                positions=[0] * many,
                settings=settings,
                on_progress=_whole(tell),
            )
        scores = profile_scorer(profile, embedder).score(images, [prompt] * many).values
        best = in_order(scores)[:kept]
        pictures = [to_picture(each) for each in to_bytes(images)]
        first = min(kept, many)
        return (
            Row(
                title=f"For you: best {len(best)} of {many} by your profile",
                pictures=[pictures[row] for row in best],
            ),
            Row(title=f"For anyone: the first {first}, unselected", pictures=pictures[:first]),
        )

    return show


def in_order(scores: Float[Tensor, " n"]) -> list[int]:
    """Return rows from the highest score to the lowest; of equals, the first comes first."""
    return torch.sort(scores, descending=True, stable=True).indices.tolist()


def _whole(tell: Tell) -> Progress:
    return lambda done, total: tell(int(done), total)
