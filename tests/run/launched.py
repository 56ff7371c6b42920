"""Runs started as users start them: by a launcher, in several processes."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def launch(
    launcher: list[str],
    config: Path | str,
    out: Path,
    *more: str,
    script: Path = ROOT / "scripts" / "train.py",
) -> None:
    """Train in processes of a launcher and wait; its standard error explains a failure."""
    command = [sys.executable, "-m", *launcher, str(script), str(config)]
    paths = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
    more_variables = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": paths}
    environment = {**os.environ, **more_variables}
    done = subprocess.run(
        [*command, "--out", str(out), *more],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
