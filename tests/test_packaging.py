"""What is released: built from its own source archive, installed alone, used elsewhere."""

import os
import site
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def run(*words: str | Path, cwd: Path) -> str:
    """Run a command without anything that would lead Python back to this checkout."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        env={**kept, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source archive, built and unpacked."""
    place = tmp_path_factory.mktemp("source")
    run(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", place, cwd=ROOT)
    with tarfile.open(next(place.glob("*.tar.gz"))) as archive:
        archive.extractall(place, filter="data")
    (found,) = [path for path in place.iterdir() if path.is_dir()]
    return found


@pytest.mark.slow
def test_the_source_archive_holds_what_a_reader_needs(unpacked: Path) -> None:
    for name in ("README.md", "LICENSE", "SECURITY.md", "CONTRIBUTING.md", "CITATION.cff"):
        assert (unpacked / name).is_file(), name
    for name in ("docs/index.md", "configs/sdxl/dpo.yaml", "tests/conftest.py", "scripts/test.sh"):
        assert (unpacked / name).is_file(), name
    assert not (unpacked / ".venv").exists()


@pytest.mark.slow
def test_a_wheel_of_the_source_archive_trains_from_another_folder(
    unpacked: Path, tmp_path: Path
) -> None:
    """The environment has its own diffpref; dependencies are lent by this one, after its own."""
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path, cwd=unpacked)
    (wheel,) = tmp_path.glob("*.whl")
    run(sys.executable, "-m", "venv", tmp_path / "env", cwd=tmp_path)
    python = tmp_path / "env/bin/python"
    run(python, "-m", "pip", "install", "--no-deps", "--no-index", wheel, cwd=tmp_path)
    own = Path(
        run(python, "-c", "import site; print(site.getsitepackages()[0])", cwd=tmp_path).strip()
    )
    (own / "lent.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    where = run(python, "-c", "import diffpref; print(diffpref.__file__)", cwd=elsewhere)
    assert Path(where.strip()).is_relative_to(own)
    command = tmp_path / "env/bin/diffpref"
    assert "shapes/dpo" in run(command, "config", "list", cwd=elsewhere)
    run(
        command,
        "train",
        "shapes/dpo",
        "loop.steps=2",
        "optimizer.warmup=0",
        "data.max_rows=64",
        "--out",
        "run",
        cwd=elsewhere,
    )
    assert (elsewhere / "run/pytorch_lora_weights.safetensors").is_file()
