"""The bt encoder of a run: the embedding a profile file of the same votes holds."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from diffpref.data.readers import open_records
from diffpref.data.records import Record
from diffpref.data.support import SupportPair, UserEncoder
from diffpref.data.writers import write_jsonl
from diffpref.errors import DataError
from diffpref.io import open_image
from diffpref.rewards import load_scorer
from diffpref.rewards.heads.embeddings import EmbeddingStore
from diffpref.users import find_prior, fit_profile
from diffpref.users.encoder import BtEncoder, make_bt_encoder
from diffpref.users.read import read_person

MANY = 6


@pytest.fixture(scope="module")
def votes() -> list[Record]:
    found: list[Record] = []
    for row in open_records("builtin:pairs", split="test").rows():
        if isinstance(row, Record) and len(set(row.scores)) == 2:
            found.append(replace(row, user="me"))
        if len(found) == MANY:
            break
    return found


@pytest.fixture(scope="module")
def encoder() -> BtEncoder:
    return make_bt_encoder(find_prior("bt-world"), load_scorer("world-reward"))


def support_of(votes: list[Record]) -> list[SupportPair]:
    scorer = load_scorer("world-reward")
    found: list[SupportPair] = []
    for number, row in enumerate(votes):
        images = [open_image(image.content, where="test") for image in row.images]
        seen = scorer.embed_images(images)
        won = int(row.scores[1] > row.scores[0])
        names = (f"{number}-{won}", f"{number}-{1 - won}")
        found.append(
            SupportPair(
                prompt=row.prompt, chosen=seen[won], rejected=seen[1 - won], images=names, user="me"
            )
        )
    return found


def test_its_vector_is_the_embedding_of_the_profile_of_the_same_votes(
    votes: list[Record], encoder: BtEncoder, tmp_path: Path
) -> None:
    write_jsonl(tmp_path / "votes", votes)
    store = EmbeddingStore(tmp_path / "cache", load_scorer("world-reward"))
    told = read_person(encoder.prior, str(tmp_path / "votes"), store)
    profile = fit_profile(encoder.prior, told.votes)
    assert profile.pairs == MANY
    vector = encoder(support_of(votes))
    assert float(vector.abs().max()) > 0.01
    torch.testing.assert_close(vector, profile.embedding, rtol=1e-4, atol=1e-5)
    assert encoder.fingerprint == profile.fingerprint
    assert isinstance(encoder, UserEncoder)
    assert encoder.width == len(profile.embedding)


def test_without_choices_it_is_nobody_and_a_choice_given_twice_counts_once(
    votes: list[Record], encoder: BtEncoder
) -> None:
    assert not bool(encoder([]).any())
    support = support_of(votes)
    assert torch.equal(encoder([*support, support[0]]), encoder(support))


def test_the_opposite_choices_stand_on_the_other_side_and_are_as_sure(
    votes: list[Record], encoder: BtEncoder
) -> None:
    flat = replace(encoder.prior.spread, mean=0 * encoder.prior.spread.mean)
    centred = replace(encoder, prior=replace(encoder.prior, spread=flat))
    support = support_of(votes)
    turned = [replace(each, chosen=each.rejected, rejected=each.chosen) for each in support]
    ours, theirs, half = centred(support), centred(turned), encoder.width // 2
    torch.testing.assert_close(ours[:half], -theirs[:half], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(ours[half:], theirs[half:], rtol=1e-4, atol=1e-6)


def test_another_population_has_another_fingerprint(encoder: BtEncoder) -> None:
    other = replace(encoder.prior, spread=replace(encoder.prior.spread, floor=0.5))
    assert replace(encoder, prior=other).fingerprint != encoder.fingerprint


def test_other_weights_of_the_scorer_are_refused(encoder: BtEncoder) -> None:
    ref = replace(encoder.prior.embedder, fingerprint="other")
    with pytest.raises(DataError, match="other weights"):
        make_bt_encoder(replace(encoder.prior, embedder=ref), load_scorer("world-reward"))
