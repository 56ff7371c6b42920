"""What a process holds of a data set of a million pairs: rows and places, no latents to speak of.

    python -m scripts.bench.index make FOLDER --pairs 1000000
    python -m scripts.bench.index open FOLDER

`make` writes a cache folder of rows like Pick-a-Pic's, whose latents are single numbers. `open`
does what every process of a run does with it and says what that took. Memory is what is the
process's own (`Anonymous` of Linux' smaps): pages of files that are mapped are shared by the
processes of a machine, and given back when something else needs the room.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from hashlib import blake2b
from itertools import islice
from pathlib import Path

import torch

from diffpref.data.batches import CachedPairs
from diffpref.data.cache import open_cache
from diffpref.data.encoder import prompt_id
from diffpref.data.rows import rows_file
from diffpref.data.shelf import KEY, Entry, Shelf, file_hash
from diffpref.io import write_json
from diffpref.io.fs import RealFs

IMAGES_PER_PAIR, PAIRS_PER_PROMPT, SHARD, SIDE = 1.03, 17, 256, 1024
NAME = "synthetic"
WINDOW, WINDOWS = 64, 8


def make(root: Path, pairs: int) -> None:
    """Write the cache folder of `pairs` pairs; a power cut may spoil it."""
    for wait in ("fsync", "sync_folder"):
        setattr(RealFs, wait, _unwaited)
    images = _shelf(root / "images" / NAME, _images(pairs))
    _shelf(root / "text" / NAME, _prompts(pairs))
    path = rows_file(root, NAME, ".jsonl")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as stream:
        for number in range(pairs):
            stream.write(json.dumps(_row(number, images)) + "\n")
    header = {
        "key": NAME,
        "name": NAME,
        "images": {"vae": "none"},
        "image_folder": NAME,
        "text": {"text": "none"},
        "text_folder": NAME,
        "sha256": file_hash(path),
        "report": {},
    }
    write_json(rows_file(root, NAME, ".json"), header)


def _unwaited(self: RealFs, place: int | Path) -> None:
    del self, place


def _row(number: int, images: int) -> dict[str, object]:
    """Return a row as the cache writes it; its second image is one of an earlier row's, mostly."""
    places = (number % images, (number * 7919 + images // 2) % images)
    return {
        "prompt": _prompt(number // PAIRS_PER_PROMPT),
        "images": [_image(place) for place in places],
        "scores": [1.0, 0.0],
        "user": None,
        "id": str(number),
        "source": None,
        "weight": 1.0,
        "where": f"train-00001-of-00100.parquet:{number}",
    }


def _prompt(number: int) -> str:
    return f"a prompt of the length that people write, {number:08d}"


def _image(number: int) -> str:
    return f"{blake2b(str(number).encode(), digest_size=16).hexdigest()}-{SIDE}x{SIDE}+0+0"


def _images(pairs: int) -> Iterator[tuple[str, Entry]]:
    number = torch.zeros(1, 1, 1, dtype=torch.float16)
    for place in range(int(pairs * IMAGES_PER_PAIR)):
        tensors = {"mean": number, "std": number}
        yield _image(place), Entry(tensors=tensors, numbers=(SIDE, SIDE, 0, 0, SIDE, SIDE))


def _prompts(pairs: int) -> Iterator[tuple[str, Entry]]:
    tensors = {"text": torch.zeros(1, 1, dtype=torch.float16)}
    yield prompt_id(""), Entry(tensors=tensors, numbers=(0,))
    for number in range(-(-pairs // PAIRS_PER_PROMPT)):
        yield prompt_id(_prompt(number)), Entry(tensors=tensors, numbers=(0,))


def _shelf(folder: Path, entries: Iterator[tuple[str, Entry]]) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / KEY, {"what": NAME})
    count = 0
    while part := dict(islice(entries, SHARD)):
        Shelf(folder=folder).put(part)
        count += len(part)
    return count


def measure(root: Path) -> dict[str, float]:
    """Open the folder and read some windows; return bytes of this process's own, and seconds."""
    torch.set_num_threads(1)
    start, began = own_memory(), time.perf_counter()
    cache = open_cache(root)
    pairs = CachedPairs(cache=cache, seed=0, prompts_per_step=WINDOW, time_ids=_untold)
    windows = pairs.windows()
    next(windows)
    ready, held = time.perf_counter() - began, own_memory() - start
    began = time.perf_counter()
    for _ in islice(windows, WINDOWS):
        pass
    each = (time.perf_counter() - began) / WINDOWS / WINDOW
    return {
        "pairs": len(cache),
        "own_bytes_per_pair": held / len(cache),
        "own_bytes_per_pair_after_reading": (own_memory() - start) / len(cache),
        "seconds_to_first_window": ready,
        "ms_per_pair_read": 1000 * each,
    }


def _untold(original: torch.Tensor, crop: torch.Tensor, target: torch.Tensor) -> None:
    del original, crop, target


def own_memory() -> int:
    """Return the bytes of this process that it shares with no file and no other process."""
    for line in Path("/proc/self/smaps_rollup").read_text(encoding="ascii").splitlines():
        if line.startswith("Anonymous:"):
            return int(line.split()[1]) * 1024
    raise OSError("the system does not tell what memory is a process's own")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("make", "open"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pairs", type=int, default=1_000_000)
    asked = parser.parse_args()
    if asked.what == "make":
        make(asked.folder, asked.pairs)
        return
    sys.stdout.write(json.dumps(measure(asked.folder), indent=2) + "\n")


if __name__ == "__main__":
    main()
