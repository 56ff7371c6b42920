"""metrics.jsonl and anomalies.jsonl of a run folder, and the trackers a user asks for."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffpref.io import read_jsonl, write_atomic
from diffpref.io.codes import BadLine
from diffpref.train.processes import Processes

METRICS = "metrics.jsonl"
ANOMALIES = "anomalies.jsonl"


@dataclass(frozen=True, kw_only=True)
class RunLog:
    """Writes on the main process only; trackers must not be able to stop a run."""

    folder: Path
    processes: Processes

    def resume(self, step: int) -> None:
        """Forget lines after `step`: the run repeats those steps."""
        if not self.processes.is_main_process:
            return
        for name in (METRICS, ANOMALIES):
            path = self.folder / name
            if path.is_file():
                kept = [line for line in read_metrics(path) if line["step"] <= step]
                write_atomic(path, "".join(json.dumps(line) + "\n" for line in kept))

    def metrics(self, step: int, values: Mapping[str, object]) -> None:
        self._append(METRICS, {"step": step, **values})
        numbers = {
            name: value
            for name, value in values.items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        }
        self.processes.log(numbers, step=step)

    def anomaly(self, step: int, values: Mapping[str, object]) -> None:
        self._append(ANOMALIES, {"step": step, **values})

    def _append(self, name: str, line: Mapping[str, object]) -> None:
        if self.processes.is_main_process:
            with (self.folder / name).open("a", encoding="utf-8") as file:
                file.write(json.dumps(line, allow_nan=False) + "\n")


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a metrics file; a line torn by a kill is left out."""
    return [row for _, row in read_jsonl(path) if not isinstance(row, BadLine)]
