"""How fast images are scored: our stream of batches against the obvious loop, in one run.

The obvious loop is what scripts around a reward model do: open a picture, prepare it with Pillow in
the main thread, run both towers on it alone, next. Ours decodes and prepares in threads, embeds
every prompt once, and runs the image tower on batches. Both use one network and give one score. It
has the full size of a published CLIP and random weights: speed does not depend on them.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image

from diffpref.draws import generator
from diffpref.rewards import LoadedScorer, ScoringModel
from diffpref.rewards.inputs import one_picture
from diffpref.rewards.random_clip import random_clip

SIDE = 512
Progress = Callable[[int, int | None], None]


@dataclass(frozen=True, kw_only=True)
class ScoreSpeed:
    """What was measured; rates are images per second, `ratio` is ours over the loop's.

    `largest_gap` is the largest difference of the two ways' scores, in units of the score.
    """

    size: str
    device: str
    dtype: str
    prompts: int
    images: int
    loop_images: int
    batch: int
    ours: float
    loop: float
    ratio: float
    largest_gap: float


def write_pictures(folder: Path, count: int, *, seed: int = 0) -> list[Path]:
    """Write JPEG pictures of 512 x 512 with structure at every scale, and return their paths."""
    paths: list[Path] = []
    for number in range(count):
        rng = generator(seed, number, "bench-pictures")
        image = torch.zeros(1, 3, SIDE, SIDE)
        for edge in (4, 16, 64, 256):
            coarse = torch.rand(1, 3, edge, edge, generator=rng)
            image += torch.nn.functional.interpolate(coarse, size=(SIDE, SIDE), mode="bilinear") / 4
        bytes_ = (image[0].clamp(0, 1) * 255).byte().permute(1, 2, 0).numpy()
        paths.append(folder / f"{number:05d}.jpg")
        Image.fromarray(bytes_).save(paths[-1], quality=90)
    return paths


def score_speed(
    folder: Path,
    *,
    size: str = "vit-b-32",
    prompts: int = 500,
    images_per_prompt: int = 4,
    loop_images: int = 200,
    batch: int = 32,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    progress: Progress | None = None,
) -> ScoreSpeed:
    """Measure both ways on the same pictures and prompts.

    Args:
        folder: where the pictures are written.
        size: a key of `random_clip.SIZES`.
        prompts: distinct prompts.
        images_per_prompt: pictures of each.
        loop_images: how many of them the loop scores; it is slow, and its rate is constant.
        batch: pictures of a batch in our way.
        device: where both compute.
        dtype: precision of the networks.
        progress: told the pictures scored by our way.
    """
    model = random_clip(size, device=torch.device(device), dtype=dtype)
    scorer = LoadedScorer(model)
    total = prompts * images_per_prompt
    paths = write_pictures(folder, total)
    asked = [f"picture number {n} of a red house beside a lake" for n in range(prompts)]
    told = [asked[n // images_per_prompt] for n in range(total)]
    few = min(loop_images, total)
    _loop(model, paths[:2], told[:2])  # warm up both ways
    scorer.score(paths[:batch], told[:batch], batch_size=batch)
    loop_seconds, loop_scores = _timed(lambda: _loop(model, paths[:few], told[:few]), device)
    ours_seconds, ours = _timed(
        lambda: (
            scorer.score(
                paths,
                asked,
                images_per_prompt=images_per_prompt,
                batch_size=batch,
                progress=progress,
            ).values
        ),
        device,
    )
    return ScoreSpeed(
        size=size,
        device=torch.cuda.get_device_name(0) if device.startswith("cuda") else device,
        dtype=str(dtype).removeprefix("torch."),
        prompts=prompts,
        images=total,
        loop_images=few,
        batch=batch,
        ours=round(total / ours_seconds, 2),
        loop=round(few / loop_seconds, 2),
        ratio=round((total / ours_seconds) / (few / loop_seconds), 2),
        largest_gap=float((ours[:few] - loop_scores).abs().max()),
    )


def _loop(model: ScoringModel, paths: Sequence[Path], prompts: Sequence[str]) -> torch.Tensor:
    """Score the obvious way: one picture, one prompt, one forward at a time."""
    values: list[torch.Tensor] = []
    with torch.no_grad():
        for path, prompt in zip(paths, prompts, strict=True):
            seen = model.sight.reference(one_picture(path, 0))
            values.append(model.judge(seen[None], (prompt,)).cpu())
    return torch.cat(values)


def _timed(work: Callable[[], torch.Tensor], device: str) -> tuple[float, torch.Tensor]:
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    began = time.perf_counter()
    result = work()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() - began, result
