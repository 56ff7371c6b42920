"""A head's folder: bit-equal round trip, and every kind of damage named."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from diffpref.errors import DataError, UnsafeFileError, UsageError
from diffpref.io import save_tensors
from diffpref.rewards.heads import HEADS
from diffpref.rewards.heads.files import ABOUT, NUMBERS, load_head, save_head
from diffpref.rewards.heads.head import ExtraRef
from diffpref.rewards.heads.pairs import Pairs
from tests.rewards.heads.conftest import random_head


@pytest.mark.parametrize("name", list(HEADS))
def test_a_head_comes_back_bit_for_bit(name: str, some_pairs: Pairs, tmp_path: Path) -> None:
    people = {"ä/1": torch.tensor([0.1, 0.2, 0.3])} if HEADS[name].personal else None
    head = random_head(name, some_pairs, people)
    extras = (
        ExtraRef(name="warmth", width=1, fingerprint="ab"),
        ExtraRef(name="pickscore@embedding", width=1024, fingerprint="cd"),
    )
    head = replace(head, embedder=replace(head.embedder, extras=extras))
    save_head(tmp_path / "head", head)
    back = load_head(tmp_path / "head")
    assert (back.name, back.shape, back.embedder) == (head.name, head.shape, head.embedder)
    assert (back.people, back.temperature) == (head.people, head.temperature)
    for mine, its in ((head.shared, back.shared), (head.scales, back.scales)):
        assert mine.keys() == its.keys()
        assert all(torch.equal(mine[key], its[key]) for key in mine)
    assert torch.equal(head.offsets, back.offsets)
    assert torch.equal(head.precision, back.precision)
    assert torch.equal(head.judge(some_pairs), back.judge(some_pairs))
    assert sorted(path.name for path in (tmp_path / "head").iterdir()) == [ABOUT, NUMBERS]


@pytest.mark.parametrize("name", [name for name in HEADS if name not in {"gpm", "mixture"}])
def test_a_loaded_heads_rewards_differ_by_its_log_odds(
    name: str, some_pairs: Pairs, tmp_path: Path
) -> None:
    people = {"p0": torch.tensor([1.0, 0.0, -1.0])} if HEADS[name].personal else {}
    save_head(tmp_path, random_head(name, some_pairs, people))
    head = load_head(tmp_path)
    user = "p0" if people else None
    mine = some_pairs.of("p0")
    first, second = mine.sides()
    gap = head.reward(first.image, first.prompt, user) - head.reward(
        second.image, second.prompt, user
    )
    assert torch.allclose(gap, head.judge(mine), atol=1e-5)
    if people:
        assert not torch.allclose(
            gap, head.reward(first.image, first.prompt) - head.reward(second.image, second.prompt)
        )


def test_a_pairs_only_head_says_so(some_pairs: Pairs) -> None:
    head, (first, _) = random_head("gpm", some_pairs), some_pairs.sides()
    with pytest.raises(UsageError, match="gpm judges pairs only"):
        head.reward(first.image, first.prompt)


@pytest.fixture
def folder(some_pairs: Pairs, tmp_path: Path) -> Path:
    save_head(tmp_path, random_head("lore", some_pairs, {"p0": torch.zeros(3)}))
    return tmp_path


def change(folder: Path, **fields: object) -> None:
    about = json.loads((folder / ABOUT).read_text())
    (folder / ABOUT).write_text(json.dumps(about | fields))


def test_an_absent_head_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        load_head(tmp_path / "nothing")


def test_another_schema_is_refused(folder: Path) -> None:
    change(folder, schema="other/1")
    with pytest.raises(DataError, match="is no head"):
        load_head(folder)


def test_an_unknown_kind_gives_the_nearest_one(folder: Path) -> None:
    change(folder, head="loree")
    with pytest.raises(DataError, match=r"unknown kind of head 'loree'\n.*did you mean 'lore'"):
        load_head(folder)


def test_two_files_that_do_not_belong_together_are_refused(folder: Path) -> None:
    save_tensors(folder / NUMBERS, {"offsets": torch.zeros(1, 3)})
    with pytest.raises(DataError, match=r"does not belong to head.json"):
        load_head(folder)


@pytest.mark.parametrize("fields", [{"shape": {}}, {"people": None}, {"temperature": "hot"}])
def test_damaged_fields_are_refused(folder: Path, fields: dict[str, object]) -> None:
    change(folder, **fields)
    with pytest.raises(DataError, match="is damaged"):
        load_head(folder)


def test_truncated_numbers_are_refused(folder: Path) -> None:
    (folder / NUMBERS).write_bytes((folder / NUMBERS).read_bytes()[:40])
    with pytest.raises((DataError, UnsafeFileError), match="safetensors"):
        load_head(folder)
