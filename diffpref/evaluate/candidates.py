"""Several images per prompt of one model, as files; those that are there are not made again."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from diffpref.errors import DataError
from diffpref.evaluate.opened import Opened
from diffpref.evaluate.pictures import png, to_bytes
from diffpref.evaluate.subject import sampling
from diffpref.io import BadImage, png_text, write_atomic
from diffpref.models.sample import sample
from diffpref.models.sample_settings import SampleSettings, image_size, images_at_once

Progress = Callable[[int, int | None], None]


def candidate_files(folder: Path, prompts: int, seeds: Sequence[int]) -> list[Path]:
    """Return the file of every image, prompt by prompt, named as `diffpref generate` names them."""
    return [_file(folder, p, seed) for p in range(prompts) for seed in seeds]


def make_candidates(
    opened: Opened,
    settings: SampleSettings,
    prompts: Sequence[str],
    seeds: Sequence[int],
    folder: Path,
    *,
    version: str,
    progress: Progress,
) -> list[Path]:
    """Make one image per prompt and seed; a stopped run goes on where it was.

    The noise of an image depends on its seed and on its prompt's place in the list.

    Args:
        opened: the model.
        settings: how it samples.
        prompts: what to show.
        seeds: one image of each prompt per seed.
        folder: where the files go.
        version: of diffpref, told in the files.
        progress: told the images done.

    Returns:
        The files, prompt by prompt.

    Raises:
        DataError: a file of that name is there and was made otherwise.
    """
    folder.mkdir(parents=True, exist_ok=True)
    facts = {**opened.facts, **sampling(opened.bundle, settings), "diffpref": version}
    size = images_at_once(settings, *image_size(opened.bundle, settings))
    total = len(prompts) * len(seeds)
    there = sum(_is_there(folder, p, seed, prompts[p], facts) for p, seed in _all(prompts, seeds))
    progress(there, total)
    for seed in seeds:
        left = [p for p in range(len(prompts)) if not _file(folder, p, seed).exists()]
        for start in range(0, len(left), size):
            part = left[start : start + size]
            asked = [prompts[p] for p in part]
            images = sample(opened.bundle, asked, seed=seed, positions=part, settings=settings)
            for p, image in zip(part, images, strict=True):
                told = _told(prompts[p], seed, p, facts)
                write_atomic(_file(folder, p, seed), png(to_bytes(image), told))
            there += len(part)
            progress(there, total)
    return candidate_files(folder, len(prompts), seeds)


def _all(prompts: Sequence[str], seeds: Sequence[int]) -> list[tuple[int, int]]:
    return [(p, seed) for p in range(len(prompts)) for seed in seeds]


def _file(folder: Path, p: int, seed: int) -> Path:
    return folder / f"{p:04d}-{seed}.png"


def _told(prompt: str, seed: int, p: int, facts: Mapping[str, str]) -> dict[str, str]:
    return {"prompt": prompt, "seed": str(seed), "position": str(p), **facts}


def _is_there(folder: Path, p: int, seed: int, prompt: str, facts: Mapping[str, str]) -> bool:
    """Say whether an image is there, made just as it would be now."""
    path = _file(folder, p, seed)
    if not path.exists():
        return False
    try:
        found = png_text(path)
    except BadImage as error:
        hint = "remove it and run this again"
        raise DataError(f"cannot be read: {error.reason}", where=str(path), hint=hint) from error
    wanted = _told(prompt, seed, p, facts)
    other = sorted(name for name in {*wanted, *found} if found.get(name) != wanted.get(name))
    if other:
        what = f"was made with another {', '.join(other)}"
        raise DataError(what, where=str(path), hint="choose another --out, or remove the folder")
    return True
