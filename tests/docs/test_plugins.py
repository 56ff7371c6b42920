"""A package of somebody else's, installed beside diffpref, adds a method, a scorer and a reader."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image

from diffpref.catalogue import build_objective, find_method, method_names
from diffpref.data.readers import open_records
from diffpref.rewards import load_scorer
from diffpref.rewards.load import scorer_names
from diffpref.schedule import scaled_linear
from diffpref.toolkit import Toolkit
from tests.docs.blocks import PAGES, blocks

FILES = {
    "my_package/__init__.py": "",
    "my_package/focal_po.py": """
from dataclasses import replace
from diffpref.methods.diffusion_dpo import METHOD as DPO, diffusion_dpo

def focal_po(kit, *, beta: float = 700.0):
    return diffusion_dpo(kit, beta=beta)

METHOD = replace(DPO, build=focal_po, summary="one of my own")
""",
    "my_package/greenness.py": """
from dataclasses import replace
from diffpref.rewards.attributes import PixelModel
from diffpref.rewards.load import load_scorer

def load(options):
    options.refuse_weights("greenness")
    info = replace(load_scorer("warmth").info, name="greenness")
    return PixelModel(info=info, measure=lambda x: x[:, 1].mean(dim=(1, 2)))
""",
    "my_package/reading.py": """
from dataclasses import replace
from pathlib import Path
from diffpref.data.readers.jsonl import JSONL
from diffpref.data.records import ImageRef, Record

def image(source, name):
    return ImageRef(key=name, path=Path(source).parent / name)

def rows(source, ask):
    for number, line in enumerate(Path(source).read_text().splitlines()[ask.start:], ask.start + 1):
        prompt, better, worse = line.split(";")
        images = tuple(image(source, name) for name in (better, worse))
        yield Record(file=source, line=number, prompt=prompt, images=images, scores=(1.0, 0.0))

READER = replace(JSONL, summary="prompt;better;worse", knows=lambda source: False, rows=rows)
""",
}


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The package as an installer would leave it; its entry points are those of the page."""
    place = tmp_path / "site"
    for name, text in FILES.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text)
    about = place / "my_package-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: my_package\nVersion: 1.0\n")
    (page,) = [block for block in blocks(PAGES / "adding-a-method.md") if block.language == "toml"]
    (about / "entry_points.txt").write_text(as_entry_points(page.text))
    monkeypatch.syspath_prepend(str(place))
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "my_package"]:
        del sys.modules[name]


def as_entry_points(toml: str) -> str:
    """Return what an installer writes for the page's lines of pyproject.toml."""
    text = toml.replace('[project.entry-points."', "[").replace('"]', "]")
    return "\n".join(line.partition("#")[0].replace('"', "") for line in text.splitlines()) + "\n"


@pytest.mark.usefixtures("installed")
def test_a_method_of_another_package_is_found_by_name_and_loaded_only_then() -> None:
    assert "focal_po" in method_names()
    assert "my_package" not in sys.modules
    assert find_method("focal_po").summary == "one of my own"
    objective = build_objective("focal_po", Toolkit(schedule=scaled_linear()), {}, {})
    assert objective.loss.beta == 700


@pytest.mark.usefixtures("installed")
def test_a_scorer_of_another_package_scores() -> None:
    assert "greenness" in scorer_names()
    green = torch.zeros(2, 3, 8, 8)
    green[1, 1] = 0.5
    assert load_scorer("greenness").score(green, ["", ""]).values.tolist() == [0.0, 0.5]


@pytest.mark.usefixtures("installed")
def test_a_reader_of_another_package_reads(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        Image.new("RGB", (8, 8), "red" if name == "a.png" else "blue").save(tmp_path / name)
    (tmp_path / "mine.txt").write_text("a prompt;a.png;b.png\nanother;b.png;a.png\n")
    found = list(open_records(str(tmp_path / "mine.txt"), format="my_format").rows())
    assert [row.prompt for row in found] == ["a prompt", "another"]
    assert [row.scores for row in found] == [(1.0, 0.0)] * 2
