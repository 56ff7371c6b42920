"""Pickled networks give their tensors and nothing else: no class is imported, nothing is called."""

import io
import os
import pickle
import random
import subprocess
import sys
import types
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save as safetensors_bytes
from torch import nn

from diffpref.errors import DataError, DiffprefError, UnsafeFileError
from diffpref.io import load_weights, png_bytes, safe_load_weights
from diffpref.io.convert import convert, recover

GONE = "module_that_is_gone"
SOURCE = """
import torch
from torch import nn

class Inner(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 4)
        self.norm = nn.BatchNorm1d(4)
        self.register_buffer("places", torch.arange(5).expand(1, -1))
        self.register_buffer("scratch", torch.ones(2), persistent=False)
        self.register_buffer("absent", None)
        self.register_parameter("nothing", None)

class Config:
    def __init__(self):
        self.sizes, self.names, self.itself = (1, 2), {"a", "b"}, self

class Outer(nn.Module):
    def __init__(self):
        super().__init__()
        self.config = Config()
        self.first = Inner()
        self.again = self.first
        self.blocks = nn.ModuleList([nn.Linear(2, 2), nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU())])
        self.tied = nn.Linear(3, 4, bias=False)
        self.tied.weight = self.first.linear.weight
        self.narrow = nn.Parameter(torch.randn(2, 2).half())
        self.brain = nn.Parameter(torch.randn(2, 3).bfloat16().T)
        base = torch.randn(10)
        self.head, self.tail = nn.Parameter(base[:6].view(2, 3)), nn.Parameter(base[4:])
        self.told = nn.Parameter(torch.ones(2))
        self.told.note = "a parameter with an attribute of its own"
        self.register_buffer("flags", torch.tensor([True, False]))
        self.register_buffer("empty", torch.empty(0, 3))
        self.register_buffer("scalar", torch.tensor(2.5, dtype=torch.float64))
        self.register_buffer("wide", torch.arange(3).to(torch.uint16))
        self.register_buffer("tiny", torch.randn(4).to(torch.float8_e4m3fn))
        self.register_buffer("waves", torch.randn(2, dtype=torch.complex64))
"""


@pytest.fixture
def gone() -> Iterator[nn.Module]:
    """A network of a module that no longer exists when its file is opened."""
    module = types.ModuleType(GONE)
    exec(SOURCE, module.__dict__)
    for name in ("Inner", "Config", "Outer"):
        getattr(module, name).__module__ = GONE
    sys.modules[GONE] = module
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            yield module.Outer()
    finally:
        sys.modules.pop(GONE, None)


def save(value: object, path: Path, *, legacy: bool = False, protocol: int = 2) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the older format wants the source of every class
        torch.save(value, path, pickle_protocol=protocol, _use_new_zipfile_serialization=not legacy)
    return path


def same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> bool:
    return list(found) == list(expected) and all(
        found[name].dtype == value.dtype
        and found[name].shape == value.shape
        and torch.equal(bits(found[name]), bits(value))
        for name, value in expected.items()
    )


def bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "before 1.6"])
def test_a_pickled_network_gives_its_state_dict_and_its_classes_stay_away(
    gone: nn.Module, tmp_path: Path, legacy: bool, protocol: int
) -> None:
    file = save(gone, tmp_path / "net.pth", legacy=legacy, protocol=protocol)
    expected = dict(gone.state_dict())
    del sys.modules[GONE]
    with pytest.raises(UnsafeFileError, match=r"its pickle|not torch's zip format"):
        safe_load_weights(file)
    found = recover(file)
    assert same(found.tensors, expected)
    assert GONE not in sys.modules
    assert {f"{GONE}.Outer", f"{GONE}.Config"} <= set(found.foreign)
    out = tmp_path / "net.safetensors"
    convert(file, out)
    loaded = load_weights(out)
    assert same({name: loaded[name] for name in expected}, expected)
    assert loaded.keys() == expected.keys()


def test_a_network_inside_a_checkpoint_is_found_or_named(gone: nn.Module, tmp_path: Path) -> None:
    expected = dict(gone.state_dict())
    for name, value, key in (
        ("a", {"epoch": 3, "model": gone, "optimizer": {"lr": 0.1}}, None),
        ("b", {"epoch": 3, "state_dict": gone.state_dict()}, None),
        ("c", {"epoch": 3, "ema": gone}, "ema"),
        ("d", gone.state_dict(), None),
        ("e", nn.DataParallel(gone).module, None),
    ):
        found = recover(save(value, tmp_path / f"{name}.pt"), key=key)
        assert same(found.tensors, expected), name
    mixed = save({"epoch": 3, "w": torch.ones(2)}, tmp_path / "mixed.pt")
    with pytest.raises(DataError, match="'epoch' is not a tensor") as caught:
        recover(mixed)
    assert "--key" in str(caught.value.hint)
    with pytest.raises(DataError, match="there is no entry 'emma'") as caught:
        recover(tmp_path / "c.pt", key="emma")
    assert "did you mean 'ema'" in str(caught.value.hint)
    with pytest.raises(DataError, match=r"its root is list, neither a module"):
        recover(save([1, 2], tmp_path / "list.pt"))
    with pytest.raises(DataError, match="no tensors"):
        recover(save(nn.ReLU(), tmp_path / "relu.pt"))


class Reduced:
    """Pickles as a call of anything with anything."""

    def __init__(self, *parts: object) -> None:
        self.parts = parts

    def __reduce__(self) -> tuple[object, ...]:
        return self.parts


class Setter:
    """Makes a folder when its state is set."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __getstate__(self) -> dict[str, str]:
        return {"path": self.path}

    def __setstate__(self, state: dict[str, str]) -> None:
        os.mkdir(state["path"])


class Newborn(str):
    """Makes a folder when it is created."""

    def __new__(cls, path: str) -> "Newborn":
        if path in LOADED:
            os.mkdir(path)
        return super().__new__(cls, path)

    def __getnewargs__(self) -> tuple[str]:
        return (str(self),)


LOADED: set[str] = set()
"""Paths whose Newborn was saved, so that only loading makes the folder."""


def by_instruction(kind: str, path: str) -> bytes:
    """Return a pickle written by hand that calls os.mkdir in a given way."""
    name = b"\x8c" + bytes([len(path.encode())]) + path.encode()
    mkdir, args = b"cos\nmkdir\n", name + b"\x85"
    system = b"\x8c\x02os\x8c\x05mkdir\x93"
    return {
        "REDUCE": b"\x80\x04" + mkdir + args + b"R.",
        "STACK_GLOBAL": b"\x80\x04" + system + args + b"R.",
        "NEWOBJ": b"\x80\x04" + mkdir + args + b"\x81.",
        "NEWOBJ_EX": b"\x80\x04" + mkdir + args + b"}\x92.",
        "INST": b"\x80\x04(" + name + b"ios\nmkdir\n.",
        "OBJ": b"\x80\x04(" + mkdir + name + b"o.",
        "EXT1": b"\x80\x02\x82\x01.",
        "BUILD of a function": b"\x80\x04" + mkdir + b"}" + name + b"K\x01sb.",
        "BUILD after REDUCE": b"\x80\x04" + mkdir + args + b"R}" + name + b"K\x01sb.",
    }[kind]


INSTRUCTIONS = (
    "REDUCE",
    "STACK_GLOBAL",
    "NEWOBJ",
    "NEWOBJ_EX",
    "INST",
    "OBJ",
    "EXT1",
    "BUILD of a function",
    "BUILD after REDUCE",
)


def canaries(path: str) -> dict[str, object]:
    born = Newborn(path)
    LOADED.add(path)
    return {
        "os.system": Reduced(os.system, (f"mkdir '{path}'",)),
        "subprocess": Reduced(subprocess.call, (["mkdir", path],)),
        "eval": Reduced(eval, (f"__import__('os').mkdir({path!r})",)),
        "exec": Reduced(exec, (f"import os; os.mkdir({path!r})",)),
        "state": Setter(path),
        "new": born,
        "items": Reduced(OrderedDict, ((("a", Reduced(os.mkdir, (path,))),),)),
    }


def nested(canary: object) -> dict[str, object]:
    """Return what could be saved around a canary."""
    module = nn.Linear(2, 2)
    module.note = canary  # pyright: ignore[reportAttributeAccessIssue, reportArgumentType]
    hooked = nn.Linear(2, 2)
    hooked._forward_hooks[3] = canary  # pyright: ignore[reportArgumentType]
    buffered = nn.Linear(2, 2)
    buffered._buffers["b"] = canary  # pyright: ignore[reportArgumentType]
    child = nn.Linear(2, 2)
    child._modules["c"] = canary  # pyright: ignore[reportArgumentType]
    flat = torch.arange(4.0)
    hooks = OrderedDict(a=canary)
    rebuilt = Reduced(
        torch._utils._rebuild_tensor_v2, (flat.storage(), 0, (2, 2), (2, 1), False, hooks)
    )
    return {
        "alone": canary,
        "beside": {"epoch": 2, "state_dict": {"x": torch.ones(1)}, "other": [canary]},
        "within": {"w": canary},
        "attribute": module,
        "hook of a module": hooked,
        "buffer": buffered,
        "submodule": child,
        "hook of a tensor": {"w": rebuilt},
        "state of a module": Reduced(nn.Linear, (2, 2), canary),
    }


@pytest.mark.filterwarnings("ignore:TypedStorage")
def test_no_canary_sings_when_a_file_is_converted(tmp_path: Path) -> None:
    path = tmp_path / "canary"
    tried, recovered = 0, set()
    for kind, canary in canaries(str(path)).items():
        for place, value in nested(canary).items():
            for legacy in (False, True):
                file = save(value, tmp_path / "x.pt", legacy=legacy, protocol=2 + 2 * (tried % 2))
                with suppress(DiffprefError):
                    tensors = recover(file).tensors
                    assert all(isinstance(each, torch.Tensor) for each in tensors.values())
                    recovered.add(place)
                assert not path.exists(), (kind, place, legacy)
                tried += 1
    assert tried == 7 * 9 * 2
    # Where the canary is no weight, the weights around it are still found.
    assert recovered == {"attribute", "hook of a module", "hook of a tensor", "beside"}


@pytest.mark.filterwarnings("ignore:TypedStorage")
def test_those_canaries_sing_for_whoever_loads_them_the_usual_way(tmp_path: Path) -> None:
    path = tmp_path / "canary"
    for kind, canary in canaries(str(path)).items():
        file = save(nested(canary)["beside"], tmp_path / "x.pt")
        with suppress(Exception):
            torch.load(file, weights_only=False)
        assert path.exists(), kind
        path.rmdir()


@pytest.mark.parametrize("kind", INSTRUCTIONS)
def test_no_instruction_of_a_pickle_runs_anything(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "canary"
    plan = by_instruction(kind, str(path))
    for number, data in enumerate((plan, zipped(plan), headed(plan))):
        file = tmp_path / f"{number}.pt"
        file.write_bytes(data)
        with pytest.raises(DiffprefError):
            recover(file)
        assert not path.exists()
    with suppress(Exception):
        pickle.loads(plan)
    harmless = kind in {"NEWOBJ", "NEWOBJ_EX", "EXT1", "BUILD of a function"}  # the loader refuses
    assert path.exists() != harmless


def zipped(plan: bytes, **members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", plan)
        for name, body in members.items():
            archive.writestr(f"archive/{name}", body)
    return buffer.getvalue()


def headed(plan: bytes) -> bytes:
    """Return the format of torch before 1.6 around a pickle."""
    head = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
    return b"".join(pickle.dumps(each, 2) for each in head) + plan + pickle.dumps([], 2)


def test_programs_and_other_files_are_refused_with_what_to_take_instead(tmp_path: Path) -> None:
    file = tmp_path / "ViT-L-14.pt"
    file.write_bytes(zipped(pickle.dumps({}, 2), **{"code/clip.py": b"x", "constants.pkl": b""}))
    for opening in (recover, safe_load_weights):
        with pytest.raises(UnsafeFileError, match="TorchScript program") as caught:
            opening(file)
        assert "model.safetensors of openai/clip-vit-large-patch14" in str(caught.value.hint)
    for name, data, said in (
        ("empty", b"", "not a weights file: the file is empty"),
        ("text", b"hello world", "not a weights file"),
        ("tar", b"\0" * 257 + b"ustar" + b"\0" * 300, "not a weights file"),
        (
            "picture",
            png_bytes(Image.new("RGB", (9, 9)), {}),
            "not a weights file: it is a PNG picture",
        ),
        (
            "safe",
            safetensors_bytes({"a": torch.zeros(1)}),
            "safetensors, which needs no",
        ),
        ("cut", b"\x80\x02", "not what torch.save writes"),
        ("pickle", pickle.dumps([1, 2], 2), "not of torch"),
        ("protocol 0", pickle.dumps([1, 2], 0), "not a weights file"),
        ("big", zipped(pickle.dumps({}, 2), byteorder=b"big"), "big-endian"),
        ("two", zipped(pickle.dumps({}, 2), **{"b/data.pkl": b"."}), "exactly one plain"),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(UnsafeFileError, match=said):
            recover(tmp_path / name)
    with pytest.raises(DataError, match="is safetensors already"):
        recover(save({"w": torch.ones(1)}, tmp_path / "x.safetensors"))
    with pytest.raises(DataError, match="cannot be read"):
        recover(tmp_path / "nowhere.pt")


def rebuilt(*args: object) -> dict[str, Reduced]:
    return {"w": Reduced(torch._utils._rebuild_tensor_v2, (*args, False, OrderedDict()))}


@pytest.mark.filterwarnings("ignore:TypedStorage")
def test_tensors_stay_within_their_data(tmp_path: Path) -> None:
    flat = torch.arange(6.0).storage()
    fine = recover(save(rebuilt(flat, 1, (2, 2), (3, 1)), tmp_path / "fine.pt")).tensors["w"]
    assert torch.equal(fine, torch.tensor([[1.0, 2.0], [4.0, 5.0]]))
    for bad, said in (
        (rebuilt(flat, 2, (2, 2), (3, 1)), "reaches beyond its data"),
        (rebuilt(flat, 0, (10**12,), (0,)), "larger than the data behind it"),
        (rebuilt(flat, -1, (2,), (1,)), "a size that is no number"),
        (rebuilt(flat, 0, (2,), (-1,)), "a size that is no number"),
        (rebuilt(flat, 0, (2, 2), (1,)), "differ in number"),
        (rebuilt(flat, True, (2,), (1,)), "a size that is no number"),
        (rebuilt(flat, 0, [2], [1]), "a size that is no number"),
        (rebuilt("flat", 0, (2,), (1,)), "not kept as torch keeps them"),
        ({"w\n": torch.ones(2)}, "a tensor named"),
        ({"__metadata__": torch.ones(2)}, "a tensor named '__metadata__'"),
    ):
        with pytest.raises(UnsafeFileError, match=said):
            recover(save(bad, tmp_path / "bad.pt"))


def test_a_file_cannot_grow_without_bound(tmp_path: Path) -> None:
    shared = torch.zeros(10_000)
    many = save({f"w{n}": shared for n in range(40)}, tmp_path / "many.pt")
    with pytest.raises(UnsafeFileError, match="far more than the file"):
        recover(many)
    module = nn.Linear(1, 1)
    for _ in range(60):
        outer = nn.Module()
        outer.a = outer.b = module
        module = outer
    with pytest.raises(UnsafeFileError, match="hold one another without end"):
        recover(save(module, tmp_path / "doubling.pt"))
    circle = nn.Module()
    circle._modules["itself"] = circle
    with pytest.raises(UnsafeFileError, match="hold one another without end"):
        recover(save(circle, tmp_path / "circle.pt"))


def test_what_safetensors_cannot_hold_is_named_and_leaves_no_file(tmp_path: Path) -> None:
    file = save({"waves": torch.ones(2, dtype=torch.complex128)}, tmp_path / "x.pt")
    with pytest.raises(DataError, match="waves"):
        convert(file, tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()
    sparse = save({"w": torch.eye(3).to_sparse()}, tmp_path / "sparse.pt")
    with pytest.raises(DataError, match="'w' is not a tensor"):
        recover(sparse)


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "before 1.6"])
def test_a_damaged_file_is_refused_and_never_a_bug(
    gone: nn.Module, tmp_path: Path, legacy: bool
) -> None:
    data = save(gone, tmp_path / "net.pt", legacy=legacy).read_bytes()
    draw = random.Random(0)
    file = tmp_path / "damaged.pt"
    refused = 0
    changed: list[Callable[[bytearray], object]] = [
        lambda raw: raw.__delitem__(slice(draw.randrange(len(raw)), None)),
        lambda raw: raw.__setitem__(draw.randrange(len(raw) // 2), draw.randrange(256)),
        lambda raw: raw.__setitem__(draw.randrange(len(raw)), draw.randrange(256)),
    ]
    for number in range(90):
        raw = bytearray(data)
        changed[number % len(changed)](raw)
        file.write_bytes(raw)
        try:
            recover(file)
        except DiffprefError:
            refused += 1
    assert refused > 30
