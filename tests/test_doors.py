"""Nothing outside diffpref/io opens what could run code, and inside each door has its own file."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# what each door may use; nobody else may use any of it
ALLOWED = {
    "diffpref/io/http.py": {"urllib.request", "http.client"},
    # judges an archive by its table of contents
    "diffpref/io/archive.py": {"zipfile"},
    "diffpref/io/images.py": {"PIL.Image.open"},
    # lists a pickle's instructions, which runs none of them
    "diffpref/io/pickle_data.py": {"pickletools"},
    "diffpref/io/png.py": {"PIL.PngImagePlugin.PngImageFile"},
    # finds the pickle and the storages of a torch file for `scorers convert`; unpickles nothing
    "diffpref/io/torch_data.py": {"zipfile"},
    "diffpref/io/weights.py": {"torch.load", "pickle", "pickletools", "zipfile"},
    "diffpref/io/yaml_text.py": {"yaml.SafeLoader"},
}
MODULES = {
    "pickle", "_pickle", "cPickle", "pickletools", "dill", "cloudpickle", "joblib", "shelve",
    "marshal", "tarfile", "zipfile", "requests", "httpx", "aiohttp", "urllib.request",
    "http.client", "urllib3", "webdataset", "cv2", "imageio",
}  # fmt: skip
CALLS = {
    "torch.load", "torch.jit.load", "torch.hub.load", "torch.package", "numpy.load",
    "numpy.lib.format.read_array", "PIL.Image.open", "PIL.PngImagePlugin.PngImageFile",
    "torchvision.io.read_image", "torchvision.io.decode_image", "pandas.read_pickle", "os.system",
    "os.popen", "eval", "exec", "compile", "builtins.eval", "builtins.exec",
}  # fmt: skip
YAML_WRITING = {"yaml.safe_dump", "yaml.dump"}
ASSIGNED = {"LOAD_TRUNCATED_IMAGES", "MAX_IMAGE_PIXELS"}
KEYWORDS = {"shell", "trust_remote_code", "custom_pipeline", "allow_pickle"}
ARCHIVES = {"extract", "extractall", "unpack_archive"}


def names_of(tree: ast.AST) -> dict[str, str]:
    """Map each name an import binds to what it stands for."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                head = alias.name.split(".")[0]
                names[alias.asname or head] = alias.name if alias.asname else head
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return names


def dotted(node: ast.AST, names: dict[str, str]) -> str:
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        head = dotted(node.value, names)
        return f"{head}.{node.attr}" if head else ""
    return ""


def imported(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module:
        yield node.module
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_false(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value is False


def of_import(node: ast.AST) -> Iterator[str]:
    for name in imported(node):
        if name in MODULES or name in CALLS:
            yield name
        elif name.split(".")[0] in MODULES:
            yield name.split(".")[0]


def of_import_by_name(node: ast.AST, names: dict[str, str]) -> Iterator[str]:
    importers = ("__import__", "importlib.import_module")
    if isinstance(node, ast.Call) and dotted(node.func, names) in importers:
        said = {arg.value for arg in node.args if isinstance(arg, ast.Constant)}
        yield from sorted(said & MODULES)


def of_name(node: ast.AST, names: dict[str, str]) -> Iterator[str]:
    """Yield forbidden things a name or attribute refers to, called or merely passed on."""
    if not isinstance(node, ast.Name | ast.Attribute):
        return
    name = dotted(node, names)
    if name in CALLS:
        yield name
    if name.startswith("yaml.") and name.count(".") == 1 and name not in YAML_WRITING:
        loads = ("load", "Loader", "unsafe")
        if any(word in name for word in loads) or name.endswith(("compose", "parse")):
            yield name
    if isinstance(node, ast.Attribute) and node.attr in ARCHIVES:
        yield node.attr
    if isinstance(node, ast.Attribute) and node.attr == "load_state" and "accelerator" in name:
        yield "accelerator.load_state"
    target = node.attr if isinstance(node, ast.Attribute) else node.id
    if target in ASSIGNED and isinstance(node.ctx, ast.Store):
        yield target


def of_keyword(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.keyword) and node.arg in KEYWORDS and not is_false(node.value):
        yield node.arg
    if isinstance(node, ast.Dict):
        for key, value in zip(node.keys, node.values, strict=True):
            if isinstance(key, ast.Constant) and key.value in KEYWORDS and not is_false(value):
                yield str(key.value)
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "setattr":
        said = {arg.value for arg in node.args if isinstance(arg, ast.Constant)}
        yield from sorted(said & ASSIGNED)


def offences(source: str) -> list[str]:
    tree = ast.parse(source)
    names = names_of(tree)
    found: set[str] = set()
    for node in ast.walk(tree):
        found |= {*of_import(node), *of_import_by_name(node, names)}
        found |= {*of_name(node, names), *of_keyword(node)}
    return sorted(found)


FORBIDDEN = [
    "import torch\ntorch.load('x')",
    "import torch as t\nt.load('x', weights_only=True)",
    "from torch import load",
    "from torch import load as read\nread('x')",
    "import torch\nread = torch.load",
    "import torch\ntorch.jit.load('x')",
    "import pickle",
    "import pickle as p",
    "from pickle import loads",
    "import dill",
    "import joblib",
    "def f():\n    import shelve",
    "import numpy as np\nnp.load('x')",
    "import numpy\nnumpy.load('x', allow_pickle=False)",
    "from numpy import load",
    "from PIL import Image\nImage.open('x')",
    "import PIL.Image\nPIL.Image.open('x')",
    "from PIL import Image as I\nI.open('x')",
    "from PIL.Image import open as read",
    "import PIL.Image as pi\npi.open('x')",
    "import yaml\nyaml.load('x', Loader=yaml.SafeLoader)",
    "import yaml\nyaml.safe_load('x')",
    "import yaml\nyaml.unsafe_load('x')",
    "from yaml import full_load\nfull_load('x')",
    "from yaml import safe_load_all as s\ns('x')",
    "import tarfile",
    "from tarfile import open",
    "archive.extractall('.')",
    "shutil.unpack_archive('x')",
    "import requests",
    "import urllib.request",
    "from urllib.request import urlopen",
    "from urllib import request",
    "import httpx",
    "eval('1')",
    "exec('1')",
    "run = eval",
    "__import__('pickle')",
    "import importlib\nimportlib.import_module('pickle').loads(x)",
    "subprocess.run('ls', shell=True)",
    "subprocess.run('ls', shell=flag)",
    "os.system('ls')\nimport os",
    "AutoModel.from_pretrained('x', trust_remote_code=True)",
    "AutoModel.from_pretrained('x', trust_remote_code=flag)",
    "kwargs = {'trust_remote_code': True}",
    "DiffusionPipeline.from_pretrained('x', custom_pipeline='y')",
    "from PIL import ImageFile\nImageFile.LOAD_TRUNCATED_IMAGES = True",
    "import PIL.Image\nPIL.Image.MAX_IMAGE_PIXELS = None",
    "setattr(ImageFile, 'LOAD_TRUNCATED_IMAGES', True)",
    "self.accelerator.load_state(path)",
]
FINE = [
    "unet.eval()",
    "model.eval().to('cpu')",
    "import yaml\nyaml.safe_dump({})",
    "import re\nre.compile('x')",
    "torch.compile(net)\nimport torch",
    "import torch\ntorch.save({}, 'x')",
    "optimizer.load_state_dict(state)",
    "subprocess.run(['ls'], shell=False)",
    "AutoModel.from_pretrained('x', trust_remote_code=False)",
    "from PIL import Image\nImage.new('RGB', (1, 1))",
    "open('x').read()",
    "path.open('rb')",
    "from urllib.parse import urlparse",
    "from diffpref.io import load_yaml\nload_yaml('x')",
    "import json\njson.load(file)",
    "import importlib\nimportlib.import_module(name)",
    "safetensors.torch.load_file('x')\nimport safetensors.torch",
]


@pytest.mark.parametrize("source", FORBIDDEN)
def test_the_lint_bites(source: str) -> None:
    assert offences(source)


@pytest.mark.parametrize("source", FINE)
def test_the_lint_leaves_ordinary_code_alone(source: str) -> None:
    assert offences(source) == []


def test_only_the_doors_open_what_could_run_code() -> None:
    files = sorted(file for top in ("diffpref", "scripts") for file in (ROOT / top).rglob("*.py"))
    assert len(files) > 20
    found: dict[str, list[str]] = {}
    for file in files:
        name = file.relative_to(ROOT).as_posix()
        unexpected = set(offences(file.read_text(encoding="utf-8"))) - ALLOWED.get(name, set())
        if unexpected:
            found[name] = sorted(unexpected)
    assert found == {}


@pytest.mark.parametrize("name", ALLOWED)
def test_every_door_uses_what_it_is_allowed(name: str) -> None:
    source = (ROOT / name).read_text(encoding="utf-8")
    assert set(offences(source)) == ALLOWED[name], "narrow the table"


def test_the_stack_is_recent_enough_for_the_doors_to_hold() -> None:
    """torch 2.10, Pillow 12.3 and safetensors 0.8 closed holes that the doors stand on."""
    from importlib.metadata import version

    floors = {"torch": (2, 10), "pillow": (12, 3), "safetensors": (0, 8)}
    for package, floor in floors.items():
        parts = version(package).split("+")[0].split(".")
        assert (int(parts[0]), int(parts[1])) >= floor, package
