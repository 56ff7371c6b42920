"""The profile file: small, readable, nothing of the person but numbers, and hard to confuse."""

import json
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from diffpref.errors import DataError, DiffprefError, UnsafeFileError, UsageError
from diffpref.io import save_tensors
from diffpref.users.change import fit_profile, mix
from diffpref.users.evidence import evidence_of
from diffpref.users.prior_file import find_prior, load_prior, save_prior
from diffpref.users.profile import UserProfile
from diffpref.users.profile_file import load_profile, save_profile
from tests.users.planted import some_pairs, some_prior

PRIOR = some_prior()
TENSORS = {"mean", "cov", "embedding"}
KEPT = {"gap", "looks", "share", "weight", "ids", "first", "second"}


def profile(keep: bool = True, count: int = 8) -> UserProfile:
    return fit_profile(PRIOR, evidence_of(PRIOR, some_pairs(count)), keep=keep)


@pytest.mark.parametrize("keep", [True, False])
def test_a_profile_comes_back_bit_for_bit(keep: bool, tmp_path: Path) -> None:
    before = profile(keep)
    save_profile(tmp_path / "me.profile", before)
    after = load_profile(tmp_path / "me.profile", PRIOR)
    assert after.summary() == before.summary()
    assert torch.equal(after.belief.mean, before.belief.mean)
    assert torch.equal(after.belief.cov, before.belief.cov)
    assert torch.equal(after.embedding, before.embedding)
    assert (after.evidence is None) == (not keep)
    if before.evidence is not None and after.evidence is not None:
        assert after.evidence.ids == before.evidence.ids
        assert torch.equal(after.evidence.gap, before.evidence.gap)


def test_writing_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    one, two = tmp_path / "a", tmp_path / "b"
    save_profile(one, profile())
    save_profile(two, load_profile(one, PRIOR))
    assert one.read_bytes() == two.read_bytes()


def test_the_file_holds_nothing_but_the_named_numbers_and_a_json_header(tmp_path: Path) -> None:
    """No pixels: what is there is named, and its size is accounted for by those numbers."""
    path = tmp_path / "me.profile"
    save_profile(path, profile(count=30))
    with safe_open(path, framework="pt") as file:
        names, header = set(file.keys()), json.loads(file.metadata()["diffpref"])
        shapes = {name: file.get_slice(name).get_shape() for name in names}
    assert names == TENSORS | KEPT
    p = len(PRIOR.spread.mean)
    assert shapes["cov"] == [p * (p + 1) // 2]
    assert shapes["ids"] == shapes["first"] == shapes["second"] == [30, 8]
    data = 4 * (p + p * (p + 1) // 2 + PRIOR.size + 30 * (p + 8 + 2)) + 3 * 30 * 8
    text = path.stat().st_size - data
    assert 500 < text < 4000
    assert path.stat().st_size < 20_000
    assert set(header) == {
        "format", "version", "encoder", "prior", "base", "n_pairs", "n_eff", "exact", "left_out",
        "leave_one_out_accuracy", "predictive_entropy_bits", "sources", "words", "created",
    }  # fmt: skip


def test_names_prompts_and_pictures_are_not_in_the_file(tmp_path: Path) -> None:
    pairs = replace(some_pairs(6, people=1), people=("Ada Lovelace",))
    found = fit_profile(PRIOR, evidence_of(PRIOR, pairs), keep=True)
    save_profile(tmp_path / "me.profile", found)
    data = (tmp_path / "me.profile").read_bytes()
    for secret in (b"Ada", b"prompt 1", pairs.keys[int(pairs.first[0])], b"\x89PNG", b"\xff\xd8"):
        assert secret not in data


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps no such permissions")
def test_only_its_owner_may_read_a_profile_even_when_it_replaces_another_file(
    tmp_path: Path,
) -> None:
    path = tmp_path / "me.profile"
    path.write_bytes(b"old")
    path.chmod(0o644)
    save_profile(path, profile())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_profile_of_another_population_or_encoder_is_refused_with_a_remedy(
    tmp_path: Path,
) -> None:
    path = tmp_path / "me.profile"
    save_profile(path, profile())
    with pytest.raises(DataError, match="another population") as caught:
        load_profile(path, some_prior(seed=4))
    assert "--prior" in str(caught.value)
    other = replace(PRIOR, embedder=replace(PRIOR.embedder, fingerprint="11"))
    with pytest.raises(DataError, match="another encoder"):
        load_profile(path, other)


def test_a_population_is_found_beside_its_profile_by_file_and_by_name(tmp_path: Path) -> None:
    save_prior(tmp_path / "toy.safetensors", PRIOR)
    save_profile(tmp_path / "me.profile", profile())
    assert load_profile(tmp_path / "me.profile").prior_sha256 == PRIOR.sha256
    (tmp_path / "toy.safetensors").rename(tmp_path / "else.safetensors")
    with pytest.raises(UsageError, match="no population 'toy'"):
        load_profile(tmp_path / "me.profile")
    assert load_profile(tmp_path / "me.profile", str(tmp_path / "else.safetensors")).pairs == 8
    folder = tmp_path / "toy"
    save_prior(folder / "prior.safetensors", PRIOR)
    assert load_prior(folder / "prior.safetensors").name == "toy"
    assert find_prior(str(folder)).sha256 == PRIOR.sha256
    assert load_profile(tmp_path / "me.profile").pairs == 8


def test_a_population_that_was_changed_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "toy.safetensors"
    save_prior(path, PRIOR)
    assert load_prior(path).belief.mean.dtype == torch.float64
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match="changed after it was written"):
        load_prior(path)


def test_what_is_no_profile_says_so(tmp_path: Path) -> None:
    path = tmp_path / "me.profile"
    with pytest.raises(DataError, match="cannot be read"):
        load_profile(path, PRIOR)
    path.write_bytes(b"\x80\x04nonsense that is a pickle perhaps.")
    with pytest.raises(DataError, match="not a sound safetensors file"):
        load_profile(path, PRIOR)
    save_tensors(path, {"mean": torch.zeros(3)}, {"diffpref": "{}"})
    with pytest.raises(DataError, match="is no profile"):
        load_profile(path, PRIOR)
    save_profile(path, profile())
    header = path.read_bytes().replace(b'\\"version\\": 1', b'\\"version\\": 9')
    path.write_bytes(header)
    with pytest.raises(DataError, match="format version 9"):
        load_profile(path, PRIOR)
    path.write_bytes(b"0" * (5 * 2**20))
    with pytest.raises(UnsafeFileError, match="ceiling"):
        load_profile(path, PRIOR)


def test_no_damage_ends_in_anything_but_our_own_error(tmp_path: Path) -> None:
    path = tmp_path / "me.profile"
    save_profile(path, profile())
    sound = path.read_bytes()
    rng = torch.Generator().manual_seed(0)
    refused = 0
    for _ in range(150):
        data = bytearray(sound)
        place = int(torch.randint(len(data), (), generator=rng))
        data[place] ^= 1 << int(torch.randint(8, (), generator=rng))
        path.write_bytes(data)
        try:
            load_profile(path, PRIOR)
        except DiffprefError:
            refused += 1
    assert refused > 50


def test_a_mixture_is_saved_too(tmp_path: Path) -> None:
    found = mix([profile(), profile(count=5)], [1.0, 1.0])
    save_profile(tmp_path / "us.profile", found)
    assert load_profile(tmp_path / "us.profile", PRIOR).summary() == found.summary()
