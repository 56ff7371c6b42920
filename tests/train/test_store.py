"""The store keeps what it acknowledged and names what it cannot use."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from diffpref.errors import CheckpointError
from diffpref.train.identity import check_identity
from diffpref.train.manifest import canonical
from diffpref.train.store import Store
from tests.faults import quiet

IDENTITY = {"config": {"beta": 5000.0, "method": "dpo"}, "seed": 1, "world_size": 1}


def tensors(step: int) -> dict[str, dict[str, torch.Tensor]]:
    rng = torch.Generator().manual_seed(step)
    return {
        "trainable": {"a": torch.randn(7, 5, generator=rng).bfloat16(), "b": torch.ones(())},
        "optimizer": {"a.exp_avg": torch.randn(35, generator=rng, dtype=torch.float64)},
    }


def save(store: Store, step: int, keep: int = 3, best: bool = False) -> Path:
    state = {"position": step * 8, "lr": 1e-5 / 3, "note": "ü"}
    return store.save(
        step, files=tensors(step), state=state, identity=IDENTITY, keep=keep, best=best
    )


def steps(store: Store) -> list[int]:
    return sorted(int(path.name[5:]) for path in store.folder.glob("step-*"))


def test_what_is_saved_comes_back_bit_for_bit(tmp_path: Path) -> None:
    store = Store(tmp_path / "run" / "checkpoints")
    path = save(store, 1234)
    assert path == tmp_path / "run" / "checkpoints" / "step-00001234"
    assert sorted(file.name for file in path.iterdir()) == [
        "manifest.json",
        "optimizer.safetensors",
        "state.json",
        "trainable.safetensors",
    ]
    found = store.latest()
    assert found is not None
    assert (found.step, found.path, found.identity) == (1234, path, IDENTITY)
    assert found.state == {"position": 9872, "lr": 1e-5 / 3, "note": "ü"}
    assert found.names == ("optimizer", "trainable")
    for name, group in tensors(1234).items():
        loaded = found.tensors(name)
        assert loaded.keys() == group.keys()
        assert all(loaded[key].dtype == group[key].dtype for key in group)
        assert all(torch.equal(loaded[key], group[key]) for key in group)
    with pytest.raises(CheckpointError, match="did you mean 'trainable'"):
        found.tensors("trainabel")


def test_a_run_without_checkpoints_has_no_latest_and_no_best(tmp_path: Path) -> None:
    store = Store(tmp_path / "none")
    assert store.latest() is None
    assert store.best() is None
    store.prepare()
    assert store.latest() is None


def test_retention_keeps_the_newest_and_the_best(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for step in range(1, 7):
        save(store, step, keep=2, best=step in (2, 3))
    assert steps(store) == [3, 5, 6]
    best = store.best()
    assert best is not None
    assert best.step == 3
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_retention_counts_sound_checkpoints_only(tmp_path: Path) -> None:
    messages: list[str] = []
    store = Store(tmp_path, log=messages.append)
    for step in (1, 2, 3):
        save(store, step, keep=3)
    flip(tmp_path / "step-00000003" / "trainable.safetensors", 8 * 200)
    save(store, 4, keep=2)
    assert steps(store) == [2, 3, 4], "the damaged one must not push out a sound one"
    assert messages == ["step-00000003 is damaged and does not count as a checkpoint"]


def test_a_damaged_pointer_stops_pruning_and_is_named(tmp_path: Path) -> None:
    messages: list[str] = []
    store = Store(tmp_path, log=messages.append)
    save(store, 1, keep=1, best=True)
    (tmp_path / "best.json").write_text("{")
    save(store, 2, keep=1)
    assert steps(store) == [1, 2]
    assert "nothing was pruned" in messages[0]
    with pytest.raises(CheckpointError, match=r"best\.json"):
        store.best()


def test_a_step_saved_again_is_replaced(tmp_path: Path) -> None:
    store = Store(tmp_path)
    save(store, 5, keep=1)
    store.save(5, files=tensors(99), state={"again": True}, identity=IDENTITY, keep=1)
    found = store.latest()
    assert found is not None
    assert found.state == {"again": True}
    assert torch.equal(found.tensors("trainable")["a"], tensors(99)["trainable"]["a"])
    assert steps(store) == [5]


def test_a_save_at_an_earlier_step_is_not_pruned_at_once(tmp_path: Path) -> None:
    store = Store(tmp_path)
    save(store, 500, keep=1)
    path = save(store, 150, keep=1)
    assert path.is_dir()


def test_the_newest_sound_checkpoint_is_used_and_the_others_are_named(tmp_path: Path) -> None:
    messages: list[str] = []
    store = Store(tmp_path, log=messages.append)
    for step in (1, 2, 3):
        save(store, step)
    (tmp_path / "step-00000003" / "state.json").unlink()
    flip(tmp_path / "step-00000002" / "optimizer.safetensors", 8 * 300)
    found = store.latest()
    assert found is not None
    assert found.step == 1
    assert messages == [
        "checkpoint skipped: step-00000003: state.json is missing",
        "checkpoint skipped: step-00000002: optimizer.safetensors does not match its sha256",
    ]
    with pytest.raises(CheckpointError, match=r"state\.json is missing"):
        store.open(tmp_path / "step-00000003")


def test_a_run_never_starts_over_because_everything_is_damaged(tmp_path: Path) -> None:
    store = Store(tmp_path, log=quiet)
    for step in (1, 2):
        (save(store, step) / "manifest.json").unlink()
    with pytest.raises(CheckpointError) as caught:
        store.latest()
    assert "step-00000002: manifest.json is missing; step-00000001" in str(caught.value)
    assert caught.value.exit_code == 5


def test_leftovers_are_removed_on_start(tmp_path: Path) -> None:
    store = Store(tmp_path)
    save(store, 1)
    for name in (".tmp-step-00000002-aa", ".dead-bb"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "half").write_bytes(b"x")
    (tmp_path / ".tmp-12-ab").write_bytes(b"x")
    store.prepare()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000001"]


def test_bad_arguments_touch_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for files, state, keep in (
        ({"../x": {}}, {}, 1),
        ({"state": {}}, {}, 1),
        ({}, {"loss": float("nan")}, 1),
        ({}, {}, 0),
    ):
        with pytest.raises(ValueError):  # noqa: PT011 (four reasons, one promise)
            store.save(1, files=files, state=state, identity={}, keep=keep)
    assert list(tmp_path.iterdir()) == []


def flip(file: Path, bit: int) -> None:
    data = bytearray(file.read_bytes())
    data[bit // 8 % len(data)] ^= 1 << bit % 8
    file.write_bytes(bytes(data))


def test_a_hundred_single_bit_flips_are_all_noticed(
    tmp_path: Path, count: Callable[[str, int], None]
) -> None:
    store = Store(tmp_path)
    path = save(store, 1)
    rng = random.Random(0)
    files = sorted(path.iterdir())
    for turn in range(100):
        file = files[turn % len(files)]
        bit = rng.randrange(file.stat().st_size * 8)
        flip(file, bit)
        with pytest.raises(CheckpointError):
            store.open(path)
        flip(file, bit)
        assert store.open(path).step == 1, "undone, it must be accepted again"
    count("bit flips noticed", turn + 1)


def test_every_single_bit_of_a_manifest_matters(tmp_path: Path) -> None:
    store = Store(tmp_path)
    path = save(store, 1)
    for bit in range(0, (path / "manifest.json").stat().st_size * 8, 43):
        flip(path / "manifest.json", bit)
        with pytest.raises(CheckpointError):
            store.open(path)
        flip(path / "manifest.json", bit)


def test_truncated_missing_linked_and_swapped_files_are_noticed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    path = save(store, 1)
    other = save(store, 2)
    for name in sorted(file.name for file in path.iterdir()):
        file, data = path / name, (path / name).read_bytes()
        for cut in (0, 1, len(data) // 2, len(data) - 1):
            file.write_bytes(data[:cut])
            with pytest.raises(CheckpointError):
                store.open(path)
        file.unlink()
        with pytest.raises(CheckpointError, match=f"{name} is missing"):
            store.open(path)
        if name != "state.json":  # the state differs by chance only
            shutil.copy(other / name, file)
            with pytest.raises(CheckpointError):
                store.open(path)
        file.write_bytes(data)
        assert store.open(path).step == 1
    (path / "state.json").rename(tmp_path / "elsewhere")
    (path / "state.json").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CheckpointError, match=r"state\.json is missing"):
        store.open(path)


def forged(path: Path, change: dict[str, object]) -> None:
    """Rewrite a manifest with a digest that fits, as only a person would."""
    from hashlib import sha256

    manifest = json.loads((path / "manifest.json").read_text())
    body = {key: value for key, value in (manifest | change).items() if key != "digest"}
    digest = sha256(canonical(body)).hexdigest()
    (path / "manifest.json").write_bytes(canonical(body | {"digest": digest}))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"format": 2}, "format 2 is unknown"),
        ({"format": "1"}, "format '1' is unknown"),
        ({"step": 7}, "belongs to step 7"),
        ({"step": None}, "lacks a part"),
        ({"files": []}, "lacks a part"),
        ({"files": {}}, "lacks a part"),
        ({"identity": 3}, "lacks a part"),
        ({"files": {"state.json": {}}}, "instead of None"),
        ({"files": {"state.json": 3}}, "lacks a part"),
    ],
)
def test_a_manifest_that_lies_is_refused(
    tmp_path: Path, change: dict[str, object], reason: str
) -> None:
    store = Store(tmp_path)
    path = save(store, 1)
    forged(path, change)
    with pytest.raises(CheckpointError, match=reason):
        store.open(path)


def test_a_manifest_cannot_name_a_file_outside(tmp_path: Path) -> None:
    store = Store(tmp_path)
    path = save(store, 1)
    files = json.loads((path / "manifest.json").read_text())["files"]
    (tmp_path / "x.safetensors").write_bytes((path / "trainable.safetensors").read_bytes())
    files["../x.safetensors"] = files["trainable.safetensors"]
    forged(path, {"files": files})
    with pytest.raises(CheckpointError, match="which no checkpoint holds"):
        store.open(path)


def test_identity_differences_are_listed_field_by_field() -> None:
    current = {"config": {"beta": 2000.0, "method": "dpo"}, "seed": 2, "threads": 1}
    with pytest.raises(CheckpointError) as caught:
        check_identity(IDENTITY, current)
    text = str(caught.value)
    assert "config.beta: checkpoint 5000.0, now 2000.0" in text
    assert "seed: checkpoint 1, now 2" in text
    assert "threads: checkpoint (absent), now 1" in text
    assert "world_size: checkpoint 1, now (absent)" in text
    assert "config.method" not in text
    assert "--allow-change config.beta" in text


def test_identity_changes_can_be_allowed_one_by_one() -> None:
    current = {"config": {"beta": 1.0, "method": "ipo"}, "seed": 1, "world_size": 2}
    with pytest.raises(CheckpointError) as caught:
        check_identity(IDENTITY, current, ["config"])
    assert "config.beta" not in str(caught.value)
    assert "world_size" in str(caught.value)
    assert check_identity(IDENTITY, current, ["config", "world_size"]) == (
        "config.beta: checkpoint 5000.0, now 1.0",
        'config.method: checkpoint "dpo", now "ipo"',
        "world_size: checkpoint 1, now 2",
    )
    with pytest.raises(CheckpointError, match="did you mean 'seed'"):
        check_identity(IDENTITY, IDENTITY, ["sed"])


def test_identity_is_compared_as_json_stores_it() -> None:
    assert check_identity({"sides": [1, 2], "empty": {}}, {"sides": (1, 2), "empty": {}}) == ()
