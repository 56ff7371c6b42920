"""The house itself: a light command, a plain lock file, clean and small files, one resolver."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import diffpref
from diffpref import assets
from diffpref.errors import ConfigError, UsageError

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ("torch", "diffusers", "transformers", "peft", "accelerate", "open_clip", "numpy", "rich")
TEXT = {".py", ".md", ".toml", ".lock", ".sh", ".yaml", ".yml", ".cff", ".json", ".html", ".txt"}
LARGEST_BYTES = 500_000

LONGEST_FILE, LONGEST_FUNCTION = 200, 40
LONGER = {
    "diffpref/losses/pair.py": (231, "the pair losses side by side, one equation each"),
    "diffpref/methods/nft.py": (222, "one paper with an objective of its own"),
    "diffpref/rewards/golden.py": (230, "recorded scores: a table"),
    "diffpref/rewards/heads/scoring.py": (204, "one object and how it answers"),
    "diffpref/rewards/scorer.py": (240, "one public object; its docstrings are its reference"),
    "diffpref/run/rollouts/source.py": (210, "one object: a round, from sampling to windows"),
    "diffpref/objective.py": (207, "one objective; its docstrings are the method's page"),
    "diffpref/step_objective.py": (208, "one objective; its docstrings are the method's page"),
    "diffpref/tail_objective.py": (206, "one objective; its docstrings are the method's page"),
    "diffpref/trajectories/inversion.py": (217, "one algorithm in its published variants"),
    "diffpref/types.py": (386, "the vocabulary: shapes, batches, points and protocols"),
}
"""Files of the package above the ceiling, how long each may be, and why one file is clearer."""


def tracked() -> list[Path]:
    """Return what git tracks, or would after `git add .`; every file in an unpacked archive."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listing.returncode:
        pytest.skip("this is not a git checkout")
    paths = [ROOT / name for name in listing.stdout.decode().split("\0") if name]
    return [path for path in paths if path.is_file()]


def test_help_imports_neither_torch_nor_any_library_worth_noticing() -> None:
    code = (
        "import sys, time\n"
        "from diffpref.cli import main\n"
        "code = main(['--help'])\n"
        "seconds = time.process_time()\n"  # of this process alone, from its start
        f"heavy = [name for name in {HEAVY} if name in sys.modules]\n"
        "sys.stderr.write(f'{code} {seconds:.3f} {heavy}')"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    code_, seconds, heavy = run.stderr.split(" ", 2)
    assert (code_, heavy) == ("0", "[]")
    assert float(seconds) < 0.4
    assert "doctor" in run.stdout


def test_the_help_of_every_verb_imports_no_torch() -> None:
    code = (
        "import sys\n"
        "from diffpref.cli import VERBS, main\n"
        "codes = {verb: main([verb, '--help']) for verb in VERBS}\n"
        "assert set(codes.values()) == {0}, codes\n"
        "sys.stderr.write(str('torch' in sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "False")


def test_the_version_is_the_one_in_the_citation_file() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", diffpref.__version__)
    assert f"version: {diffpref.__version__}\n" in (ROOT / "CITATION.cff").read_text()


def test_the_lock_holds_only_name_and_version() -> None:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    assert [
        line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][\w.+!]*", line)
    ] == []
    names = [line.partition("==")[0] for line in lines]
    assert names == sorted(set(names))


def test_the_lock_pins_every_dependency_and_the_build_backend() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [
        *project["project"]["dependencies"],
        *project["project"]["optional-dependencies"]["dev"],
        *project["build-system"]["requires"],
    ]
    names = {re.split(r"[\[<>=]", each)[0].lower().replace("_", "-") for each in wanted}
    locked = {line.partition("==")[0] for line in (ROOT / "requirements.lock").read_text().split()}
    assert names - locked == set()


def test_no_tracked_file_names_this_machine_or_a_registry_host() -> None:
    # Written in two parts, so that this file does not contain what it looks for.
    forbidden = re.compile(
        "|".join(
            [
                "/wo" + r"rk/(?:main|shared)",
                "/ro" + r"ot/",
                "/ho" + r"me/[a-z]",
                "files.python" + r"hosted\.org",
                "py" + r"pi\.org",
                "registry.npm" + r"js\.org",
                "download.py" + r"torch\.org",
            ]
        )
    )
    found = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path in tracked()
        if path.suffix in TEXT or path.suffix == ""
        for match in [forbidden.search(path.read_text(encoding="utf-8", errors="replace"))]
        if match
    ]
    assert found == []


def test_only_assets_holds_large_files() -> None:
    large = [path for path in tracked() if path.stat().st_size > LARGEST_BYTES]
    assert [path for path in large if path.relative_to(ROOT).parts[0] != "assets"] == []


def test_a_file_of_the_package_has_at_most_two_hundred_lines_or_a_reason() -> None:
    lengths = {
        str(path.relative_to(ROOT)): path.read_text(encoding="utf-8").count("\n")
        for path in sorted((ROOT / "diffpref").rglob("*.py"))
    }
    allowed = {name: length for name, (length, _) in LONGER.items()}
    too_long = {
        name: length for name, length in lengths.items() if length > allowed.get(name, LONGEST_FILE)
    }
    assert too_long == {}
    needless = [name for name in LONGER if lengths.get(name, 0) <= LONGEST_FILE]
    assert needless == []


def test_a_function_of_the_package_has_at_most_forty_lines() -> None:
    """Counted from its first statement: signatures and docstrings say, and do nothing."""
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}: {length}"
        for path in sorted((ROOT / "diffpref").rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
        for length in [_statements(node)]
        if length > LONGEST_FUNCTION
    ]
    assert found == []


def _statements(node: ast.FunctionDef) -> int:
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    return ((body[-1].end_lineno or 0) - body[0].lineno + 1) if body else 0


def test_every_shell_script_parses_and_stops_at_the_first_error() -> None:
    for script in [*sorted((ROOT / "scripts").glob("*.sh")), ROOT / ".ci" / "run"]:
        subprocess.run(["bash", "-n", str(script)], check=True)
        text = script.read_text()
        assert "_env.sh" in text or "set -" in text, script


def test_the_public_names_load_on_first_use_and_others_are_refused() -> None:
    assert set(dir(diffpref)) == set(diffpref.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        diffpref.nothing  # noqa: B018


def test_every_public_name_exists() -> None:
    assert set(diffpref.__all__) == {*diffpref._PUBLIC, "__version__"}
    assert [name for name in diffpref.__all__ if getattr(diffpref, name) is None] == []


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Lay out an installed package: diffpref/_assets and diffpref/_configs."""
    for name in ("_assets/base/unet", "_assets/prompts", "_configs/sdxl", "_configs/accelerate"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "_assets/pairs.parquet").touch()
    (tmp_path / "_assets/prompts/test.jsonl").touch()
    (tmp_path / "_configs/sdxl/dpo.yaml").write_text("# DPO on SDXL\nseed: 0\n")
    (tmp_path / "_configs/accelerate/ddp.yaml").touch()
    monkeypatch.setattr(assets, "_PACKAGE", tmp_path)
    return tmp_path


def test_a_checkout_resolves_to_the_folders_beside_the_package() -> None:
    assert assets.assets_root() == ROOT / "assets"
    assert assets.configs_root() == ROOT / "configs"


def test_bundled_names_resolve_without_file_endings(shipped: Path) -> None:
    assert assets.builtin("builtin:base") == shipped / "_assets/base"
    assert assets.builtin("builtin:pairs") == shipped / "_assets/pairs.parquet"
    assert assets.resolve("builtin:prompts/test") == str(shipped / "_assets/prompts/test.jsonl")
    assert assets.resolve("some/folder") == "some/folder"


@pytest.mark.usefixtures("shipped")
def test_an_unknown_bundled_name_gives_the_nearest_one() -> None:
    with pytest.raises(UsageError, match="did you mean 'builtin:base'"):
        assets.builtin("builtin:bass")


def test_a_preset_is_found_with_and_without_its_ending(shipped: Path) -> None:
    assert assets.find_config("sdxl/dpo") == shipped / "_configs/sdxl/dpo.yaml"
    assert assets.find_config("sdxl/dpo.yaml") == shipped / "_configs/sdxl/dpo.yaml"
    assert list(assets.presets()) == ["sdxl/dpo"]


def test_a_file_of_that_name_comes_before_the_preset(
    shipped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(shipped)
    (shipped / "sdxl").mkdir()
    (shipped / "sdxl/dpo.yaml").touch()
    assert assets.find_config("sdxl/dpo.yaml") == Path("sdxl/dpo.yaml")


@pytest.mark.usefixtures("shipped")
def test_an_unknown_preset_gives_the_nearest_one() -> None:
    with pytest.raises(ConfigError, match="neither a file nor a preset") as caught:
        assets.find_config("sdxl/dpoo")
    assert "did you mean 'sdxl/dpo'" in str(caught.value)


@pytest.mark.slow
def test_the_wheel_works_outside_the_repository(tmp_path: Path) -> None:
    """Unpacks the wheel alone: dependencies come from this environment, diffpref does not."""
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    place = tmp_path / "installed"
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        wheel.extractall(place)
    code = (
        "import diffpref; from diffpref import assets\n"
        "assert 'installed' in diffpref.__file__, diffpref.__file__\n"
        "assert assets.builtin('builtin:base').is_dir() and assets.presets()\n"
        "from diffpref.cli import main; raise SystemExit(main(['doctor', '--json']))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(place)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize(
    ("python", "advice"),
    [
        ('[[ "$2" != *"3, 11"* ]]', "sudo apt install python3 python3-venv"),
        ('[[ "$2" != *ensurepip* ]]', "sudo apt install python3-venv"),
    ],
    ids=["too old", "without venv"],
)
def test_an_unfit_python_is_answered_by_one_line_that_names_the_package(
    python: str, advice: str, tmp_path: Path
) -> None:
    """Run the script in a tree without .venv, with a fake python3 the only one on PATH."""
    tools, scripts = tmp_path / "bin", tmp_path / "tree" / "scripts"
    tools.mkdir()
    scripts.mkdir(parents=True)
    for name in ("_env.sh", "test.sh"):
        shutil.copy(ROOT / "scripts" / name, scripts)
    bash = shutil.which("bash")
    dirname = shutil.which("dirname")
    assert bash is not None
    assert dirname is not None
    (tools / "dirname").symlink_to(dirname)
    fake = tools / "python3"
    fake.write_text(f"#!{bash}\n{python}\n")
    fake.chmod(0o755)
    run = subprocess.run(
        [bash, str(scripts / "test.sh")],
        env={"PATH": str(tools)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1
    assert run.stderr.count("\n") == 1
    assert run.stderr.endswith(f"{advice}\n")
    assert list(scripts.parent.iterdir()) == [scripts]
