"""Rounds on disk as data: what they hold, and their whole images as the one schema."""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffpref.data.readers import holds_rounds
from diffpref.data.records import Record
from diffpref.data.writers import image_of, write_jsonl
from diffpref.errors import DataError
from diffpref.models import Bundle
from diffpref.rewards.pictures import png_of
from diffpref.run.rollouts.clean import KINDS
from diffpref.run.rollouts.origin import METHOD, Origin
from diffpref.run.rollouts.rounds import Round, Rounds

AT_ONCE = 8
"""Images decoded together."""

QUANTILES = {"least": 0.0, "quartile": 0.25, "median": 0.5, "upper quartile": 0.75, "most": 1.0}

Progress = Callable[[int, int | None], None]


def open_rounds(source: str) -> Rounds:
    """Return the rounds of a folder, for reading.

    Raises:
        DataError: there are none.
    """
    if not holds_rounds(source):
        raise DataError(
            "holds no rounds of an online run",
            where=source,
            hint="give the rollouts/ folder of an online run, such as runs/NAME/rollouts",
        )
    return Rounds(folder=Path(source), keep=0)


def summary(rounds: Rounds) -> dict[str, Any]:
    """Return what rounds hold: kind, counts, prompts, a histogram of t, quantiles of the gaps.

    Raises:
        CheckpointError: a round is damaged.
    """
    steps, texts, gaps = Counter[int](), Counter[str](), list[Tensor]()
    kinds, items, empty, made_by = Counter[str](), 0, 0, dict[str, str]()
    for number in rounds.numbers():
        made = rounds.read(number)
        made_by = {name: fact.write for name, fact in made.origin.items()}
        kinds[kind_of(made.origin)] += 1
        items, empty = items + len(made), empty + (not len(made))
        if not len(made):
            continue
        gaps.append(made.items["gap"].float())
        texts.update(made.texts.get(int(p), f"prompt at {int(p)}") for p in made.items["asked"])
        if "t" in made.items:
            steps.update(int(t) for t in made.items["t"].reshape(len(made), -1)[:, 0])
    gap = torch.cat(gaps) if gaps else torch.empty(0)
    return {
        "kind": ", ".join(kinds),
        "rounds": sum(kinds.values()),
        "empty": empty,
        "items": items,
        "prompts": dict(texts.most_common()),
        "t": {t: steps[t] for t in sorted(steps, reverse=True)},
        "gap": {name: float(gap.quantile(q)) for name, q in QUANTILES.items()} if items else {},
        "made with": made_by,
    }


def kind_of(origin: Origin) -> str:
    """Return what the items of a round are."""
    return origin[METHOD].told if METHOD in origin else "unknown (made by an older version)"


def base_of(rounds: Rounds) -> str | None:
    """Return the base that made the rounds, as its run's configuration names it."""
    origin = rounds.read(rounds.numbers()[0]).origin
    return origin["model.base"].write if origin else None


def export(rounds: Rounds, bundle: Bundle, out: Path, *, progress: Progress) -> tuple[int, int]:
    """Decode the whole images of rounds and write them as `metadata.jsonl` and PNG files.

    Scores are those the rounds hold: standardised rewards, or 1 and 0 of liked images. A round is
    in memory at a time.

    Args:
        rounds: of an online run of a method on whole images.
        bundle: decodes; its autoencoder must be that of the run.
        out: a new folder, or one without rows.
        progress: told of rounds.

    Returns:
        How many rows and how many images were written.

    Raises:
        DataError: the rounds hold steps, `out` is in use, or the latents are not the bundle's.
    """
    if out.exists() and any(out.iterdir()):
        raise DataError("there are files already", where=str(out), hint="name a new folder")
    _check_whole(rounds)
    counts = [0, 0]

    def rows() -> Iterator[Record]:
        numbers = rounds.numbers()
        for done, number in enumerate(numbers):
            progress(done, len(numbers))
            for row in _records(rounds.read(number), bundle, rounds.folder):
                counts[0] += 1
                counts[1] += len(row.images)
                yield row
        progress(len(numbers), len(numbers))

    write_jsonl(out, rows())
    return counts[0], counts[1]


def _check_whole(rounds: Rounds) -> None:
    kinds = {kind_of(rounds.read(number).origin) for number in rounds.numbers()}
    other = sorted(kinds - set(KINDS.values()))
    if other:
        raise DataError(
            f"holds {other[0]}, and only whole images can be written as pictures",
            where=str(rounds.folder),
            hint="learn from these by rollout.frozen, or sample with a method on whole images, "
            "such as online_dpo or nft",
        )


@torch.no_grad()
def _records(made: Round, bundle: Bundle, folder: Path) -> Iterator[Record]:
    if not len(made):
        return
    latents, scores = made.items["latents"], made.items["score"]
    size = bundle.latent_shape(*(side * bundle.vae_factor for side in latents.shape[-2:]))
    if size != tuple(latents.shape[2:]):
        raise DataError(
            f"holds latents of {latents.shape[2]} channels, and the base's have {size[0]}",
            where=str(folder),
            hint="give --base the base of the run",
        )
    each = max(1, AT_ONCE // latents.shape[1])
    for start in range(0, len(latents), each):
        part = latents[start : start + each]
        pictures = bundle.decode(part.flatten(0, 1).to(bundle.device)).cpu()
        for row, shown in enumerate(pictures.split(latents.shape[1])):
            place = start + row
            asked = int(made.items["asked"][place])
            yield Record(
                prompt=made.texts[asked],
                images=tuple(image_of(png_of(each)) for each in shown),
                scores=tuple(float(score) for score in scores[place]),
                id=f"round-{made.number}-{place}",
                source="rollout",
            )
