"""How `diffpref scorers check` says what it found."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diffpref.cli.app import write_columns, write_json


def tell(found: Mapping[str, Any], json: bool) -> None:
    """Write what was found, as JSON or in columns."""
    if json:
        write_json(found)
        return
    rows = [("scorer", found.get("id", found["scorer"]))]
    for part in found.get("parts", ()):
        rows += _part_rows(part)
    for each in found.get("weights", ()):
        rows.append(
            ("layout", f"{each['layout']}  {each['file']}  sha256 {each['sha256'][:12]}...")
        )
    if "trial" in found:
        rows += [
            ("keys", found["keys"]),
            ("loaded in", f"{found['seconds_to_load']:.2f} s"),
            ("trial", _trial(found["trial"])),
        ]
    if "golden" in found:
        told = found["golden"]
        said = f"{told['compared']} equal, worst difference {told['worst']:.2g}"
        rows.append(("golden", f"{said}; not found: {', '.join(told['not_found']) or 'none'}"))
    rows.append(("usable", "yes" if found["usable"] else "no"))
    write_columns(rows)


def _part_rows(part: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = [("part", f"{part['part']}: {part['path']}")]
    rows += [("sha256", f"{digest}  {Path(file).name}") for file, digest in part["files"].items()]
    if part["dtypes"]:
        kinds = ", ".join(f"{count} {kind}" for kind, count in part["dtypes"].items())
        published = f" (published {part['published']:,})" if part["published"] else ""
        rows += [("tensors", kinds), ("numbers", f"{part['numbers']:,}{published}")]
    return rows


def _trial(trial: Mapping[str, Any]) -> str:
    first, second = trial["scores"]
    return f"'{trial['prompt']}': {first:.4f}; {trial['against']}: {second:.4f}"
