"""The run folder: its name, what it records of the machine, and finding it again."""

import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from secrets import token_hex

from diffpref.errors import UsageError
from diffpref.io import write_json

CONFIG = "config.yaml"
ENV = "env.json"
CHECKPOINTS = "checkpoints"
PACKAGES = (
    "diffpref",
    "torch",
    "diffusers",
    "transformers",
    "accelerate",
    "peft",
    "open_clip_torch",
    "safetensors",
)


def new_folder(config_name: str) -> Path:
    """Return runs/<config>-<UTC>-<4 hex>; nothing is made yet."""
    now = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    return Path("runs") / f"{Path(config_name).stem}-{now}-{token_hex(2)}"


def is_run(path: Path) -> bool:
    return (path / CONFIG).is_file()


def require_fresh(folder: Path) -> None:
    """Refuse to start a new run over an old one.

    Raises:
        UsageError: the folder holds a run.
    """
    if is_run(folder):
        raise UsageError(
            "this folder holds a run already",
            where=str(folder),
            hint=f"go on with: diffpref train {folder} --resume auto, or choose another --out",
        )


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages a result depends on."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def write_environment(
    folder: Path, *, device: str, threads: int, processes: int, sharded: bool
) -> None:
    """Record what the run depends on besides its configuration; no paths, no variables."""
    write_json(
        folder / ENV,
        {
            "versions": versions(),
            "platform": f"{platform.system()} {platform.machine()}",
            "device": device,
            "threads": threads,
            "processes": processes,
            "sharded": sharded,
            "byteorder": sys.byteorder,
        },
    )
