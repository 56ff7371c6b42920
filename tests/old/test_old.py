"""What earlier releases wrote still opens, and what later ones write is refused with what to do."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from diffpref import __version__
from diffpref.config import load_config
from diffpref.data.labels import read_table
from diffpref.data.readers import open_records
from diffpref.data.records import Record
from diffpref.errors import DataError, DiffprefError
from diffpref.rate.book import VIEW, Book
from diffpref.rewards.heads.files import ABOUT, load_head
from diffpref.train.store import Store
from diffpref.users.profile_file import load_profile
from tests.faults import quiet
from tests.train.test_store import forged

OLD = Path(__file__).parent
RELEASES = sorted(path.name for path in OLD.iterdir() if path.is_dir() and path.name[0].isdigit())
Count = Callable[[str, int], None]


def opens_a_configuration(root: Path) -> None:
    config = load_config(root / "run" / "config.yaml")
    assert (config.seed, config.loop.steps, config.save.keep) == (3, 40, 3)


def opens_a_checkpoint(root: Path) -> None:
    store = Store(root / "run" / "checkpoints")
    for found in (store.latest(), store.best()):
        assert found is not None
        assert (found.step, found.state["accuracy"], found.identity["seed"]) == (30, 0.625, 3)
        weights = found.tensors("trainable")["layer.lora_A.weight"]
        assert torch.equal(weights, torch.arange(6).reshape(2, 3) / 7)
        assert torch.equal(weights, found.tensors("ema")["layer.lora_A.weight"])
        assert found.tensors("optimizer")["layer.lora_A.weight.v"].tolist() == [[0.5] * 3] * 2


def opens_a_profile(root: Path) -> None:
    profile = load_profile(root / "profile" / "me.profile")
    assert profile.pairs == 8
    assert profile.evidence is not None
    assert bool(profile.embedding.isfinite().all())


def opens_the_votes_of_a_rating_page(root: Path) -> None:
    book = Book(root / "votes")
    try:
        assert [each.nonce for each in book.mine()] == ["n1", "n3", "n4"]
    finally:
        book.close()
    rows = list(open_records(str(root / "votes" / VIEW)).rows())
    assert [row.scores for row in rows if isinstance(row, Record)] == [(1, 0), (0.5, 0.5)]


def opens_a_label_table(root: Path) -> None:
    table = read_table(root / "labels" / "labels.jsonl")
    assert table.ranges == [(0.5, 2.0)]
    assert table.scores["a boat", "b.png"] == (2.0,)


def opens_a_reward_head(root: Path) -> None:
    head = load_head(root / "head")
    assert head.name == "lore"
    assert head.temperature == 1.3


OPENS = [
    opens_a_configuration,
    opens_a_checkpoint,
    opens_a_profile,
    opens_the_votes_of_a_rating_page,
    opens_a_label_table,
    opens_a_reward_head,
]


@pytest.mark.parametrize("opens", OPENS)
@pytest.mark.parametrize("release", RELEASES)
def test_what_a_release_wrote_still_opens(
    release: str, opens: Callable[[Path], None], tmp_path: Path, count: Count
) -> None:
    shutil.copytree(OLD / release, tmp_path / "old")
    opens(tmp_path / "old")
    count("old files opened", 1)


def test_this_release_is_in_the_corpus() -> None:
    assert __version__ in RELEASES, "run python -m tests.old.record and commit what it writes"


def replaced(file: Path, old: bytes, new: bytes) -> None:
    data = file.read_bytes()
    assert old in data
    file.write_bytes(data.replace(old, new))


LATER: dict[str, tuple[Callable[[Path], object], Callable[[Path], None], str]] = {
    "checkpoint": (
        lambda root: forged(root / "run/checkpoints/step-00000030", {"format": 2}),
        lambda root: Store(root / "run/checkpoints", log=quiet).open(
            root / "run/checkpoints/step-00000030"
        ) and None,
        "upgrade diffpref",
    ),
    "profile": (
        lambda root: replaced(
            root / "profile/me.profile", b'\\"version\\": 1', b'\\"version\\": 2'
        ),
        opens_a_profile,
        "update diffpref",
    ),
    "population": (
        lambda root: replaced(
            root / "profile/toy.safetensors", b"diffpref-prior/1", b"diffpref-prior/2"
        ),
        opens_a_profile,
        "diffpref",
    ),
    "label table": (
        lambda root: replaced(root / "labels/labels.jsonl", b"labels/1", b"labels/2"),
        opens_a_label_table,
        "make it anew",
    ),
    "reward head": (
        lambda root: replaced(root / "head" / ABOUT, b"diffpref-head/2", b"diffpref-head/3"),
        opens_a_reward_head,
        "train the head again",
    ),
    "configuration": (
        lambda root: replaced(root / "run/config.yaml", b"seed: 3", b"sead: 3"),
        opens_a_configuration,
        "did you mean 'seed'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", LATER)
def test_what_a_later_release_writes_is_refused_with_what_to_do(
    what: str, tmp_path: Path, count: Count
) -> None:
    shutil.copytree(OLD / __version__, tmp_path / "old")
    change, opens, told = LATER[what]
    change(tmp_path / "old")
    with pytest.raises(DiffprefError) as caught:
        opens(tmp_path / "old")
    assert told in str(caught.value)
    assert caught.value.exit_code in (2, 3, 4, 5)
    count("later formats refused", 1)


def test_a_journal_line_that_a_later_release_adds_does_no_harm(tmp_path: Path) -> None:
    shutil.copytree(OLD / __version__, tmp_path / "old")
    with (tmp_path / "old" / "votes" / "journal.jsonl").open("a") as file:
        file.write(json.dumps({"praise": "n1", "time": "2027-01-01T00:00:00+00:00"}) + "\n")
    opens_the_votes_of_a_rating_page(tmp_path / "old")


def test_a_head_of_the_first_schema_is_refused_with_how_to_make_it_again(tmp_path: Path) -> None:
    shutil.copytree(OLD / __version__, tmp_path / "old")
    replaced(tmp_path / "old/head" / ABOUT, b"diffpref-head/2", b"diffpref-head/1")
    with pytest.raises(DataError, match="train the head again"):
        load_head(tmp_path / "old" / "head")
