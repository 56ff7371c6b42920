"""Prompts from a file: one per line, jsonl with a `prompt` each, or a benchmark's own file."""

from pathlib import Path

from diffpref.assets import resolve
from diffpref.errors import DataError
from diffpref.evaluate.benchmarks.source import is_benchmark, read_benchmark
from diffpref.io import BadLine, read_jsonl

MAX_BYTES = 64 * 2**20


def read_prompts(source: str, *, limit: int | None = None) -> list[str]:
    """Return the prompts of a .txt or .jsonl file, or of `builtin:prompts/<set>`, in order.

    Blank lines of a text file are skipped. `parti:FILE` and the like read the file of a benchmark
    (`diffpref.evaluate.benchmarks`).

    Args:
        source: the file.
        limit: how many, from the top; None reads all.

    Returns:
        At least one prompt.

    Raises:
        DataError: names the file and line.
    """
    if is_benchmark(source):
        return [item.prompt for item in read_benchmark(source, limit=limit)[1]]
    path = Path(resolve(source))
    if not path.is_file():
        hint = "give a .txt file with a prompt per line, a .jsonl file, or builtin:prompts/test"
        raise DataError("there is no such file of prompts", where=source, hint=hint)
    prompts = _from_jsonl(path, limit) if path.suffix == ".jsonl" else _from_text(path)
    if not prompts:
        raise DataError("holds no prompts", where=source, hint="write one prompt per line")
    return prompts[:limit]


def _from_text(path: Path) -> list[str]:
    if path.stat().st_size > MAX_BYTES:
        hint = "split it, or give a jsonl file"
        raise DataError(f"has more than {MAX_BYTES} bytes", where=str(path), hint=hint)
    found: list[str] = []
    for number, raw in enumerate(path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        try:
            line = raw.decode("utf-8").strip()
        except UnicodeDecodeError as error:
            hint = "save the file as UTF-8"
            where = f"{path.name}:{number}"
            raise DataError(f"byte {error.start} is not UTF-8", where=where, hint=hint) from error
        if "\0" in line:
            raise DataError("holds a NUL", where=f"{path.name}:{number}", hint="is this a text?")
        if line:
            found.append(line)
    return found


def _from_jsonl(path: Path, limit: int | None) -> list[str]:
    found: list[str] = []
    for number, row in read_jsonl(path):
        if isinstance(row, BadLine):
            hint = 'every line is an object such as {"prompt": "a red circle"}'
            raise DataError(row.reason, where=f"{path.name}:{number}", hint=hint)
        prompt = row.get("prompt")
        if not isinstance(prompt, str) or not prompt.strip():
            hint = f"its fields: {', '.join(row) or 'none'}"
            raise DataError("has no text in `prompt`", where=f"{path.name}:{number}", hint=hint)
        found.append(prompt.strip())
        if limit is not None and len(found) == limit:
            break
    return found
