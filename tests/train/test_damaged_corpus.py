"""A corpus of damaged checkpoints: each is refused with its reason, and the older one is used."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from diffpref.errors import CheckpointError
from diffpref.train.store import Store
from tests.faults import counting, quiet
from tests.train.test_store import flip, forged

WEIGHTS, STATE, MANIFEST = "trainable.safetensors", "state.json", "manifest.json"
Damage = Callable[[Path], object]


def save(store: Store, step: int) -> Path:
    return store.save(
        step,
        files={
            "trainable": {"a": torch.full((64,), float(step))},
            "optimizer": {"m": torch.ones(9)},
        },
        state={"step": step},
        identity={"seed": 1},
        keep=9,
    )


def cut(name: str, keep: float) -> Damage:
    def damage(path: Path) -> None:
        os.truncate(path / name, int((path / name).stat().st_size * keep))

    return damage


def removed(name: str) -> Damage:
    return lambda path: (path / name).unlink()


def zeroed(name: str) -> Damage:
    """As after the power failed on a file system that allocates before it writes."""
    return lambda path: (path / name).write_bytes(b"\0" * (path / name).stat().st_size)


def longer(name: str) -> Damage:
    def damage(path: Path) -> None:
        with (path / name).open("ab") as file:
            file.write(b"\n")

    return damage


def bit(name: str, at: float) -> Damage:
    return lambda path: flip(path / name, int((path / name).stat().st_size * 8 * at))


def older(name: str) -> Damage:
    return lambda path: shutil.copy(path.with_name("step-00000001") / name, path / name)


def folder(name: str) -> Damage:
    def damage(path: Path) -> None:
        (path / name).unlink()
        (path / name).mkdir()

    return damage


def linked(name: str) -> Damage:
    def damage(path: Path) -> None:
        (path / name).rename(path.parent / "elsewhere")
        (path / name).symlink_to(path.parent / "elsewhere")

    return damage


def edited(path: Path) -> None:
    """By hand, and without minding the digest."""
    text = (path / MANIFEST).read_text()
    (path / MANIFEST).write_text(text.replace('"seed": 1', '"seed": 2'))


def reformatted(path: Path) -> None:
    (path / MANIFEST).write_text(json.dumps(json.loads((path / MANIFEST).read_text())))


def unlisted(path: Path) -> None:
    files = json.loads((path / MANIFEST).read_text())["files"]
    forged(path, {"files": {name: files[name] for name in files if name != STATE}})


CORPUS: dict[str, tuple[Damage, str]] = {
    "weights gone": (removed(WEIGHTS), "trainable.safetensors is missing"),
    "optimizer gone": (removed("optimizer.safetensors"), "optimizer.safetensors is missing"),
    "state gone": (removed(STATE), "state.json is missing"),
    "manifest gone": (removed(MANIFEST), "manifest.json is missing"),
    "weights empty": (cut(WEIGHTS, 0), "has 0 bytes instead of"),
    "weights half": (cut(WEIGHTS, 0.5), "bytes instead of"),
    "state empty": (cut(STATE, 0), "has 0 bytes instead of"),
    "manifest empty": (cut(MANIFEST, 0), "manifest.json"),
    "manifest half": (cut(MANIFEST, 0.5), "manifest.json"),
    "weights of zeros": (zeroed(WEIGHTS), "does not match its sha256"),
    "state of zeros": (zeroed(STATE), "does not match its sha256"),
    "manifest of zeros": (zeroed(MANIFEST), "manifest.json"),
    "weights longer": (longer(WEIGHTS), "bytes instead of"),
    "manifest longer": (longer(MANIFEST), "does not match its own digest"),
    "a bit of the header": (bit(WEIGHTS, 0.1), "does not match its sha256"),
    "a bit of the numbers": (bit(WEIGHTS, 0.95), "does not match its sha256"),
    "a bit of the state": (bit(STATE, 0.5), "state.json does not match its sha256"),
    "a bit of the manifest": (bit(MANIFEST, 0.6), "manifest.json|format|lacks a part"),
    "weights of another step": (older(WEIGHTS), "does not match its sha256"),
    "state of another step": (older(STATE), "does not match its sha256"),
    "manifest of another step": (older(MANIFEST), "belongs to step 1"),
    "a folder for weights": (folder(WEIGHTS), "is missing"),
    "a folder for the manifest": (folder(MANIFEST), "cannot be read"),
    "a link for weights": (linked(WEIGHTS), "is missing"),
    "manifest edited": (edited, "does not match its own digest"),
    "manifest reformatted": (reformatted, "does not match its own digest"),
    "state not listed": (unlisted, "lacks a part"),
    "a later format": (lambda path: forged(path, {"format": 2}), "format 2 is unknown"),
    "no format": (lambda path: forged(path, {"format": None}), "format None is unknown"),
    "everything gone": (lambda path: [each.unlink() for each in path.iterdir()], "is missing"),
}


@pytest.mark.parametrize("name", CORPUS)
def test_a_damaged_checkpoint_is_refused_with_its_reason_and_the_older_one_is_used(
    tmp_path: Path, name: str
) -> None:
    store = Store(tmp_path, fs=counting(), log=quiet)
    save(store, 1)
    path = save(store, 2)
    damage, reason = CORPUS[name]
    damage(path)
    with pytest.raises(CheckpointError, match=reason) as caught:
        store.open(path)
    assert caught.value.exit_code == 5
    assert caught.value.where == str(path)
    assert caught.value.hint
    found = store.latest()
    assert found is not None
    assert found.step == 1
    assert save(store, 3).is_dir(), "the run goes on"
