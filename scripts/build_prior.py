"""Learns the bundled population: python scripts/build_prior.py --work FOLDER

From the votes of the training people on training pictures (`builtin:pairs`, train part). Sizes are
chosen on the validation people, who vote on every two pictures of the validation prompts: their
tastes are known, so more votes than the bundled 400 can be had. The test part is not read. The
result, assets/bt-world.safetensors, does not depend on anything random but fixed seeds.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from diffpref.cli.progress import progress_bar
from diffpref.data.source_parts import parts_of
from diffpref.data.votes import read_votes
from diffpref.draws import generator
from diffpref.evaluate.known import read_truth
from diffpref.evaluate.taste import census
from diffpref.rewards import load_scorer
from diffpref.rewards.heads.embeddings import EmbeddingStore
from diffpref.rewards.heads.head import EmbedderRef
from diffpref.rewards.heads.pairs import Pairs
from diffpref.users.choose import Search, learn_prior, split_people
from diffpref.users.prior_file import save_prior

NAME = "bt-world"
ASSET = Path(__file__).resolve().parent.parent / "assets" / f"{NAME}.safetensors"
SEARCH = Search(
    widths=(12, 16, 24), ranks=(1, 2, 3, 4, 6, 8), floors=(0.02, 0.05, None), believed=(1.0, 0.5)
)


def asked_of_all(held: Pairs, chance: torch.Tensor) -> Pairs:
    """Return one vote of everybody on every pair, drawn by its exact probability."""
    rng = generator(0, 0, "build_prior/votes")
    luck = torch.rand(len(held), generator=rng, dtype=torch.float64)
    return replace(held, share=(luck < chance).float())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=ASSET)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    scorer = load_scorer("world-reward")
    store = EmbeddingStore(asked.work / "cache", scorer)
    parts = {name: each for name, each in parts_of("builtin:pairs").items() if name != "test"}
    votes = read_votes(parts, store)
    train, held = split_people(votes.pairs, votes.parts)
    truth = read_truth({"validation": parts["validation"]}, held)
    every = census(held, held.voters())
    held = asked_of_all(every, truth.probability(every))
    ref = EmbedderRef(scorer=scorer.info.id, fingerprint=store.fingerprint)
    with progress_bar("choosing", "choices") as tell:
        prior = learn_prior(train, held, ref, name=NAME, search=SEARCH, progress=tell)
    save_prior(asked.out, prior)


if __name__ == "__main__":
    main()
