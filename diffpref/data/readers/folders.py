"""Folders: winner/ and loser/ paired by file stem, or liked/ and disliked/ as single likes."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from diffpref.data.readers.files import file_image
from diffpref.data.readers.reader import Ask, Reader, stamp_files, stamp_rows
from diffpref.data.records import Row, RowCode
from diffpref.data.validate import Fault, Place, bad_row, check_row
from diffpref.io import BadLine, read_jsonl

PAIRS = (("winner", "winners", "chosen", "preferred"), ("loser", "losers", "rejected"))
LIKES = (("liked", "likes"), ("disliked", "dislikes"))
IMAGES = {".png", ".jpg", ".jpeg", ".webp"}
CAPTIONS = "captions.jsonl"
"""Lines {"image": file name or stem, "prompt": text}, for folders without .txt files."""

MAX_CAPTION = 100_000


def _sides(source: str, names: tuple[tuple[str, ...], ...]) -> list[Path | None]:
    root = Path(source)
    return [next((root / n for n in side if (root / n).is_dir()), None) for side in names]


def _knows(source: str) -> bool:
    return all(_sides(source, PAIRS)) or any(_sides(source, LIKES))


def _rows(source: str, ask: Ask) -> Iterator[Row]:
    yield from islice(_all_rows(Path(source)), ask.start, None)


def _all_rows(root: Path) -> Iterator[Row]:
    captions = _captions(root)
    if all(_sides(str(root), PAIRS)):
        yield from _pairs(root, captions)
    else:
        yield from _likes(root, captions)


def _pairs(root: Path, captions: dict[str, str]) -> Iterator[Row]:
    winners, losers = (_images(side) for side in _sides(str(root), PAIRS) if side)
    for line, stem in enumerate(sorted(winners.keys() | losers.keys()), start=1):
        paths = [side[stem] for side in (winners, losers) if stem in side]
        if len(paths) == 1:
            reason = f"'{stem}' is only in {paths[0].parent.name}/"
            yield bad_row(Fault(RowCode.MISSING_SIDE, reason), _place(root, paths[0], line), stem)
        else:
            yield _row(root, paths, [1, 0], captions, line)


def _likes(root: Path, captions: dict[str, str]) -> Iterator[Row]:
    line = 0
    for side, score in zip(_sides(str(root), LIKES), (1, 0), strict=True):
        for path in _images(side).values() if side else ():
            line += 1
            yield _row(root, [path], [score], captions, line)


def _row(
    root: Path, paths: list[Path], scores: list[int], captions: dict[str, str], line: int
) -> Row:
    place, stem = _place(root, paths[0], line), paths[0].stem
    try:
        prompt = _prompt(root, paths, captions)
    except Fault as fault:
        return bad_row(fault, place, stem)
    names = [path.relative_to(root).as_posix() for path in paths]
    raw = {"prompt": prompt, "images": names, "scores": scores, "id": stem}
    return check_row(raw, place, lambda value, _index: file_image(value, root))


def _place(root: Path, path: Path, line: int) -> Place:
    """A folder has no lines: its rows are counted in the order of their stems."""
    return Place(file=path.relative_to(root).as_posix(), line=line)


def _prompt(root: Path, paths: list[Path], captions: dict[str, str]) -> str:
    stem = paths[0].stem
    for folder in (*(path.parent for path in paths), root):
        text = folder / f"{stem}.txt"
        if text.is_file():
            return _read_text(text)
    for name in (*(path.relative_to(root).as_posix() for path in paths), paths[0].name, stem):
        if name in captions:
            return captions[name]
    reason = f"there is neither {stem}.txt nor a line for '{stem}' in {CAPTIONS}"
    raise Fault(RowCode.MISSING_CAPTION, reason, "prompt")


def _read_text(path: Path) -> str:
    if path.stat().st_size > MAX_CAPTION:
        raise Fault(RowCode.LONG_PROMPT, f"{path.name} is longer than a prompt", "prompt")
    try:
        return path.read_bytes().decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise Fault(RowCode.BAD_TEXT, f"{path.name} is not UTF-8", "prompt") from None


def _captions(root: Path) -> dict[str, str]:
    path = root / CAPTIONS
    if not path.is_file():
        return {}
    found: dict[str, str] = {}
    for _, raw in read_jsonl(path):
        if isinstance(raw, BadLine):
            continue  # the images it was meant for are reported as missing_caption
        image, prompt = raw.get("image"), raw.get("prompt")
        if isinstance(image, str) and isinstance(prompt, str):
            found[image] = prompt
    return found


def _images(folder: Path) -> dict[str, Path]:
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGES)
    return {path.stem: path for path in files}


def _stamp(source: str, ask: Ask) -> str:
    del ask
    texts = sorted([*Path(source).glob("*.txt"), *Path(source).glob("*/*.txt")])
    return stamp_rows(_all_rows(Path(source))) + stamp_files(texts)


FOLDERS = Reader(
    summary="winner/ and loser/ images of the same stem, or liked/ and disliked/; prompts in .txt",
    knows=_knows,
    rows=_rows,
    count=lambda source, _ask: sum(1 for _ in _all_rows(Path(source))),
    stamp=_stamp,
)
