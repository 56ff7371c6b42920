"""Stage 3: the base in assets/, four samples of it per prompt, and people's votes on them."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from io import BytesIO
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from PIL import Image
from torch import Tensor

from diffpref.assets import assets_root
from diffpref.data.records import Record
from diffpref.data.writers import image_of, write_pickapic
from diffpref.draws import generator
from diffpref.io import load_weights, save_tensors, write_atomic, write_json
from diffpref.models.load import HABITS
from diffpref.world.captions import caption, sample_statements
from diffpref.world.oracle import fidelity
from diffpref.world.people import FIDELITY_WEIGHT, TIE, Person, choice_probability, people
from diffpref.world.splits import split_of
from diffpref.world.taste import attributes
from scripts.assets_build import base as base_stage

SEED = 13
PROMPTS = {"train": 1600, "validation": 200, "test": 300}
"""Prompts with sampled images, per split."""

TEST_PROMPTS = 640
"""Prompts of the test set used for sampling and win rates; the first 300 also have pairs."""

IMAGES = 4
GUIDANCE = 2.5
STEPS = 20
CROWD = 100
CHUNK = 100
"""Prompts sampled between saves."""


@dataclass(frozen=True, kw_only=True)
class Vote:
    """One person's choice between images `first` and `second` of a prompt."""

    prompt: int
    first: int
    second: int
    vote: float
    person: int


def build(work: Path) -> None:
    """Write assets/base, assets/pairs, assets/prompts and assets/manifest.json."""
    root = assets_root()
    _save_base(work, root / "base")
    prompts = choose_prompts()
    for split, texts in prompts.items():
        shown = "".join(f"{text}\n" for text in texts)
        (root / "prompts").mkdir(parents=True, exist_ok=True)
        write_atomic(root / "prompts" / f"{split}.txt", shown)
    pipeline = load_base(root / "base")
    manifest: dict[str, object] = {"guidance": GUIDANCE, "steps": STEPS, "seed": SEED}
    for split, texts in prompts.items():
        voted = texts[: PROMPTS[split]]
        images = _samples(work, pipeline, split, voted)
        votes = _votes(split, images, voted)
        name = f"{split}-00000-of-00001.parquet"
        write_pickapic(root / "pairs" / name, _records(images, voted, votes))
        _keep(work, split, voted, votes)
        manifest[split] = _described(split, texts, images, votes)
    write_json(root / "manifest.json", manifest)


def choose_prompts() -> dict[str, list[str]]:
    """Return distinct captions per split; no caption is in two splits."""
    wanted = {**PROMPTS, "test": TEST_PROMPTS}
    found: dict[str, dict[str, None]] = {split: {} for split in wanted}
    start = 30_000_000
    while any(len(found[split]) < count for split, count in wanted.items()):
        for stated in sample_statements(SEED, torch.arange(start, start + 2000)):
            text = caption(stated)
            found[split_of(text)][text] = None
        start += 2000
    return {split: list(found[split])[:count] for split, count in wanted.items()}


def load_base(folder: Path) -> StableDiffusionPipeline:
    pipeline = StableDiffusionPipeline.from_pretrained(
        folder, dtype=torch.float32, safety_checker=None, local_files_only=True
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def load_votes(
    work: Path, split: str
) -> tuple[Tensor, list[str], list[tuple[int, int, int, float]]]:
    """Return uint8 images [p 4 3 32 32], prompts, and (prompt, first, second, vote) rows."""
    kept = json.loads((work / f"votes-{split}.json").read_text())
    images = load_weights(work / f"samples-{split}.safetensors")["images"]
    rows = [(v["prompt"], v["first"], v["second"], v["vote"]) for v in kept["votes"]]
    return images, kept["prompts"], rows


def crowd(split: str) -> list[Person]:
    """Return the people of a split."""
    return [person for person in people(SEED, CROWD) if split_of(person.name) == split]


def _save_base(work: Path, target: Path) -> None:
    """Write the trained base in half precision; everything later uses these rounded weights."""
    if (target / "model_index.json").exists():
        return
    pipeline = base_stage.build(work)
    pipeline.to(torch.float16).save_pretrained(target, safe_serialization=True)
    write_json(target / HABITS, {"guidance": GUIDANCE})


def _samples(
    work: Path, pipeline: StableDiffusionPipeline, split: str, prompts: list[str]
) -> Tensor:
    """Return IMAGES samples per prompt as uint8, sampling only what is not on disk yet."""
    path = work / f"samples-{split}.safetensors"
    done = load_weights(path)["images"] if path.exists() else torch.empty(0, IMAGES, 3, 32, 32)
    done = done.byte()
    for start in range(len(done), len(prompts), CHUNK):
        part = prompts[start : start + CHUNK]
        sets = [
            base_stage.sample(
                pipeline,
                part,
                seed=_seed(split, start, image),
                guidance=GUIDANCE,
                steps=STEPS,
            )
            for image in range(IMAGES)
        ]
        new = (torch.stack(sets, dim=1) * 255).round().byte()
        done = torch.cat([done, new])
        save_tensors(path, {"images": done})
    return done


def _seed(split: str, start: int, image: int) -> int:
    digest = blake2b(f"{SEED}/{split}/{start}/{image}".encode(), digest_size=4).digest()
    return int.from_bytes(digest)


def _votes(split: str, images: Tensor, prompts: list[str]) -> list[Vote]:
    """Let people of the split vote: images 0 against 1 and 2 against 3 of every prompt."""
    judges = crowd(split)
    flat = images.flatten(0, 1).float() / 255
    liked = attributes(flat).view(len(prompts), IMAGES, -1)
    told = tuple(prompt for prompt in prompts for _ in range(IMAGES))
    true = fidelity(flat, told).view(len(prompts), IMAGES)
    rng = generator(SEED, 0, f"votes/{split}")
    votes: list[Vote] = []
    for first, second in ((0, 1), (2, 3)):
        who = torch.randint(0, len(judges), (len(prompts),), generator=rng).tolist()
        luck = torch.rand(len(prompts), generator=rng)
        for row, judge in enumerate(who):
            person = judges[judge]
            worth = liked[row] @ person.taste - FIDELITY_WEIGHT * (1 - true[row])
            chance = choice_probability(person, worth[first, None], worth[second, None])[0]
            tie = bool((worth[first] - worth[second]).abs() < TIE)
            votes.append(
                Vote(
                    prompt=row,
                    first=first,
                    second=second,
                    vote=0.5 if tie else float(luck[row] < chance),
                    person=int(person.name.split("-")[1]),
                )
            )
    return sorted(votes, key=lambda vote: (vote.prompt, vote.first))


def _records(images: Tensor, prompts: list[str], votes: list[Vote]) -> Iterator[Record]:
    for vote in votes:
        shown = [images[vote.prompt, i] for i in (vote.first, vote.second)]
        yield Record(
            prompt=prompts[vote.prompt],
            images=tuple(image_of(_webp(image), generator="builtin:base") for image in shown),
            scores=(vote.vote, 1 - vote.vote),
            user=str(vote.person),
            source="builtin:base",
        )


def _webp(image: Tensor) -> bytes:
    buffer = BytesIO()
    pixels = image.permute(1, 2, 0).numpy()
    Image.fromarray(pixels).save(buffer, "WEBP", lossless=True, method=6)
    return buffer.getvalue()


def _keep(work: Path, split: str, prompts: list[str], votes: list[Vote]) -> None:
    plain = [vars(vote) for vote in votes]
    write_json(work / f"votes-{split}.json", {"prompts": prompts, "votes": plain})


def _described(
    split: str, prompts: list[str], images: Tensor, votes: list[Vote]
) -> dict[str, object]:
    hashes = [
        blake2b(image.numpy().tobytes(), digest_size=8).hexdigest()
        for image in images.flatten(0, 1)
    ]
    return {
        "prompts": len(prompts),
        "pairs": len(votes),
        "ties": sum(vote.vote == 0.5 for vote in votes),
        "people": sorted(person.name for person in crowd(split)),
        "image_hashes": hashes,
    }
