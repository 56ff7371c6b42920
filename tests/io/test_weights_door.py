"""Weights are numbers: nothing a user can name runs code, grows without bound or changes kind."""

import io
import os
import pickle
import tarfile
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from diffpref.errors import DataError, DiffprefError, UnsafeFileError
from diffpref.io import (
    Journal,
    load_weights,
    load_yaml,
    open_image,
    parse_json,
    png_text,
    read_json,
    read_jsonl,
    safe_load_weights,
    save_tensors,
)
from diffpref.io.tensors import _NAMES, stored_bytes
from diffpref.train.store import Store


class Canary:
    """Makes a folder when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.path),)


def zipped(name: str, plan: bytes, method: int = zipfile.ZIP_STORED, **extra: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr(f"{name}/data.pkl", plan)
        archive.writestr(f"{name}/version", b"3\n")
        archive.writestr(f"{name}/data/0", b"\0" * 16)
        for member, body in extra.items():
            archive.writestr(f"{name}/{member}.pkl", body)
    return buffer.getvalue()


def tarred(name: str, body: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo(name)
        info.size = len(body)
        archive.addfile(info, io.BytesIO(body))
    return buffer.getvalue()


def saved(value: object, *, legacy: bool = False) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, _use_new_zipfile_serialization=not legacy)
    return buffer.getvalue()


def object_array(canary: Canary) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array([canary], dtype=object), allow_pickle=True)
    return buffer.getvalue()


def corpus(canary: Canary) -> dict[str, bytes]:
    plain = torch.zeros(2)
    return {
        **{f"pickle, protocol {k}": pickle.dumps(canary, protocol=k) for k in range(6)},
        "torch zip": saved({"w": canary}),
        "torch zip beside tensors": saved({"a": plain, "state": {"deep": [canary]}}),
        "torch legacy": saved({"w": canary}, legacy=True),
        "zip, protocol 4": zipped("archive", pickle.dumps(canary, protocol=4)),
        "zip, compressed": zipped("a", pickle.dumps(canary, protocol=2), zipfile.ZIP_DEFLATED),
        "zip with a second plan": zipped(
            "a", saved_plan({"a": plain}), DATA=pickle.dumps(canary, protocol=2)
        ),
        "zip with constants": zipped("a", saved_plan({"a": plain}), constants=pickle.dumps(canary)),
        "tar": tarred("pickle", pickle.dumps(canary, protocol=2)),
        "numpy objects": object_array(canary),
        "yaml": f"!!python/object/apply:os.mkdir ['{canary.path}']\n".encode(),
        "gguf name": b"GGUF" + pickle.dumps(canary, protocol=2),
    }


def saved_plan(value: object) -> bytes:
    with zipfile.ZipFile(io.BytesIO(saved(value))) as archive:
        return archive.read("archive/data.pkl")


def checkpoint_around(file: Path) -> None:
    """Put a file where a checkpoint keeps its weights, with a manifest that vouches for it."""
    from hashlib import sha256

    from diffpref.io.atomic import Written
    from diffpref.train.manifest import manifest_bytes

    folder = file.parent / f"run-{file.name}" / "step-00000001"
    folder.mkdir(parents=True)
    parts = {"trainable.safetensors": file.read_bytes(), "state.json": b"{}"}
    for name, body in parts.items():
        (folder / name).write_bytes(body)
    written = {name: Written(len(b), sha256(b).hexdigest()) for name, b in parts.items()}
    (folder / "manifest.json").write_bytes(manifest_bytes(1, written, {}))
    store = Store(folder.parent)
    for found in (store.latest(), store.open(folder)):
        assert found is not None
        found.tensors("trainable")


ENTRIES: dict[str, Callable[[Path], object]] = {
    "load_weights": load_weights,
    "safe_load_weights": safe_load_weights,
    "safe_load_weights, key": lambda file: safe_load_weights(file, key="state_dict"),
    "load_yaml": load_yaml,
    "read_json": read_json,
    "read_jsonl": lambda file: list(read_jsonl(file)),
    "parse_json": lambda file: parse_json(file.read_bytes()),
    "open_image": lambda file: open_image(file, where="x"),
    "png_text": png_text,
    "journal": lambda file: list(Journal(file).read()),
    "checkpoint": checkpoint_around,
}
SUFFIXES = (".pt", ".safetensors", ".bin", ".json")


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_no_file_runs_code_through_any_door(
    tmp_path: Path, count: Callable[[str, int], None]
) -> None:
    canary = Canary(tmp_path / "canary")
    files = corpus(canary)
    tried = 0
    for number, (name, data) in enumerate(files.items()):
        for suffix in SUFFIXES:
            file = tmp_path / f"{number}{suffix}"
            file.write_bytes(data)
            for entry, use in ENTRIES.items():
                with suppress(DiffprefError, ValueError):
                    use(file)
                tried += 1
                assert not canary.path.exists(), (name, suffix, entry)
    assert tried >= 60
    count("canaries x entry points", tried)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_torch_alone_would_not_run_code_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind the reading of the pickle's words stands weights_only; each holds by itself."""
    monkeypatch.setattr("diffpref.io.weights._check_archive", lambda _: None)
    canary = Canary(tmp_path / "canary")
    refused = 0
    for number, (name, data) in enumerate(corpus(canary).items()):
        (tmp_path / f"{number}.pt").write_bytes(data)
        with suppress(DiffprefError):
            safe_load_weights(tmp_path / f"{number}.pt")
            refused -= 1
        refused += 1
        assert not canary.path.exists(), name
    assert refused >= 9


def test_the_canaries_sing(tmp_path: Path) -> None:
    """The corpus is dangerous to whoever opens it the usual way."""
    canary = Canary(tmp_path / "canary")
    files = corpus(canary)
    dangerous = [name for name in files if name.startswith(("pickle", "torch"))]
    assert len(dangerous) == 9
    for name in dangerous:
        with suppress(Exception):
            if name.startswith("pickle"):
                pickle.loads(files[name])
            else:
                torch.load(io.BytesIO(files[name]), weights_only=False)
        assert canary.path.exists(), name
        canary.path.rmdir()


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".ckpt"])
def test_a_plain_state_dict_of_torch_is_read_for_scorers_only(tmp_path: Path, suffix: str) -> None:
    state = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3)).state_dict()
    state["half"] = torch.randn(4).half()
    state["brain"] = torch.randn(3, 2).bfloat16().T
    file = tmp_path / f"scorer{suffix}"
    torch.save(state, file)
    loaded = safe_load_weights(file)
    assert isinstance(state, OrderedDict)
    assert list(loaded) == list(state)
    assert all(
        torch.equal(loaded[k], state[k]) and loaded[k].dtype == state[k].dtype for k in state
    )
    with pytest.raises(UnsafeFileError, match=r"use a \.safetensors file"):
        load_weights(file)


def test_the_weights_inside_a_training_checkpoint_are_named(tmp_path: Path) -> None:
    file = tmp_path / "a.pt"
    weights = {"w": torch.nn.Parameter(torch.arange(3.0)), "n": torch.tensor(3)}
    torch.save({"epoch": 3, "name": "x", "state_dict": weights}, file)
    loaded = safe_load_weights(file, key="state_dict")
    assert torch.equal(loaded["w"], torch.arange(3.0))
    assert not loaded["w"].requires_grad
    with pytest.raises(DataError, match="'epoch' is not a tensor") as caught:
        safe_load_weights(file)
    assert "state_dict" in str(caught.value.hint)
    with pytest.raises(DataError, match="did you mean 'state_dict'"):
        safe_load_weights(file, key="statedict")
    with pytest.raises(DataError, match="no tensors"):
        safe_load_weights(file, key="epoch")


def test_a_tensor_larger_than_its_file_is_refused(tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(1).expand(10**12)}, tmp_path / "a.pt")
    assert (tmp_path / "a.pt").stat().st_size < 3000
    with pytest.raises(UnsafeFileError, match="larger than the data behind it"):
        safe_load_weights(tmp_path / "a.pt")


def test_a_compressed_archive_is_refused_before_it_grows(tmp_path: Path) -> None:
    source = zipfile.ZipFile(io.BytesIO(saved({"w": torch.zeros(10**6)})))
    with zipfile.ZipFile(tmp_path / "a.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        for member in source.infolist():
            archive.writestr(member.filename, source.read(member))
    assert (tmp_path / "a.pt").stat().st_size < 10_000
    with pytest.raises(UnsafeFileError, match="compressed"):
        safe_load_weights(tmp_path / "a.pt")


def test_refusals_say_what_was_found_and_what_to_do(tmp_path: Path) -> None:
    canary = Canary(tmp_path / "canary")
    files = corpus(canary)
    for name, said in {
        "pickle, protocol 2": "not torch's zip format",
        "torch zip": r"names (posix|nt)\.mkdir",
        "torch legacy": "not torch's zip format",
        "zip, protocol 4": "uses STACK_GLOBAL",
        "zip with a second plan": "two with one name",
        "zip with constants": "TorchScript",
    }.items():
        (tmp_path / "x.pt").write_bytes(files[name])
        with pytest.raises(UnsafeFileError, match=said) as caught:
            safe_load_weights(tmp_path / "x.pt")
        assert caught.value.exit_code == 6
        wanted = "safetensors file" if said == "TorchScript" else "diffpref scorers convert"
        assert wanted in str(caught.value)
    for file in (tmp_path / "nothing.safetensors", tmp_path):
        with pytest.raises(DataError):
            load_weights(file)


def test_a_malformed_safetensors_is_a_data_error(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    save_file({"w": torch.arange(64)}, file)
    data = file.read_bytes()
    for bad in (b"", data[:-1], data[:20], b"\xff" * 8 + data[8:], b"PK\x03\x04" + data):
        file.write_bytes(bad)
        with pytest.raises(DataError, match="not a sound safetensors file"):
            load_weights(file)


def every_kind() -> dict[str, torch.Tensor]:
    tensors = {
        f"{dtype}".split(".")[1]: torch.arange(1, 7).reshape(2, 3).to(dtype) for dtype in _NAMES
    }
    base = torch.randn(4, 6)
    return tensors | {
        "scalar": torch.tensor(2.5),
        "empty": torch.empty(0, 3),
        "transposed": base.T,
        "view": base[1:3, ::2],
        "tied": base,
        "parameter": torch.nn.Parameter(torch.ones(3)),
        "name with ünïcode": torch.ones(1),
    }


def test_every_kind_of_tensor_comes_back_bit_for_bit(tmp_path: Path) -> None:
    tensors = every_kind()
    save_tensors(tmp_path / "a.safetensors", tensors, {"step": "3", "nöte": "é"})
    for loaded in (load_weights(tmp_path / "a.safetensors"), load_file(tmp_path / "a.safetensors")):
        assert loaded.keys() == tensors.keys()
        for name, tensor in tensors.items():
            found = loaded[name]
            assert (found.dtype, found.shape) == (tensor.dtype, tensor.shape)
            mine = tensor.detach().contiguous().reshape(-1).view(torch.uint8)
            assert torch.equal(found.reshape(-1).view(torch.uint8), mine)
    with safe_open(tmp_path / "a.safetensors", "pt") as file:
        assert file.metadata() == {"step": "3", "nöte": "é"}
    assert stored_bytes(tensors) < (tmp_path / "a.safetensors").stat().st_size


def test_the_stream_agrees_with_the_official_writer_on_the_data(tmp_path: Path) -> None:
    tensors = {"b": torch.randn(3), "a": torch.randn(2, 2).half(), "c": torch.arange(5)}
    save_tensors(tmp_path / "mine", tensors)
    save_file(tensors, tmp_path / "theirs")
    tail = stored_bytes(tensors)
    assert (tmp_path / "mine").read_bytes()[-tail:] == (tmp_path / "theirs").read_bytes()[-tail:]


def test_a_large_tensor_is_written_in_pieces(tmp_path: Path) -> None:
    big = torch.arange(5 * 2**20, dtype=torch.int32)
    save_tensors(tmp_path / "a.safetensors", {"big": big})
    assert torch.equal(load_weights(tmp_path / "a.safetensors")["big"], big)


def test_what_cannot_be_stored_is_named_and_leaves_no_file(tmp_path: Path) -> None:
    for name, tensor in (
        ("sparse", torch.eye(3).to_sparse()),
        ("complex128", torch.zeros(2, dtype=torch.complex128)),
        ("__metadata__", torch.zeros(2)),
    ):
        with pytest.raises(ValueError, match=name):
            save_tensors(tmp_path / "a.safetensors", {name: tensor})
    assert list(tmp_path.iterdir()) == []
