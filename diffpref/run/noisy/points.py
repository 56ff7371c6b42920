"""Votes as noisy latents, looked at once: every row of a cache at several steps, on disk.

A shard holds one draw of all rows of one part, is written whole, and is found again by what it
depends on, so that an interrupted look goes on and loses one shard at most.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import combinations
from json import dumps
from pathlib import Path

import torch
from torch import Tensor

from diffpref.data.batches import CachedPairs
from diffpref.data.cache import Cache
from diffpref.draws import Draws
from diffpref.io import load_weights, save_tensors
from diffpref.models import Bundle
from diffpref.rewards.noisy.looks import Look
from diffpref.rewards.noisy.pairs import NoisyPairs

Progress = Callable[[int, int | None], None]
Shard = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Looking:
    """How one part of a source is looked at.

    Attributes:
        cache: of the part.
        rows: which of its rows.
        bundle, look: the base and what is seen.
        folder: where shards are kept.
        role: what the rows are for; with `part` the name of their draws.
        seed: of the draws.
        draws: how often every row is noised.
        batch: rows looked at together.
        known: what else shards depend on.
        grid: fixed steps, one per draw, for rows that are measured on; None draws t uniformly.
        shared: whether the images of a row have one noise; else each has its own.
    """

    cache: Cache
    bundle: Bundle
    look: Look
    rows: tuple[int, ...]
    folder: Path
    part: str
    role: str
    seed: int
    draws: int
    batch: int
    known: tuple[str, ...]
    grid: tuple[int, ...] | None = None
    shared: bool = False

    @property
    def name(self) -> str:
        """The shards' name: a hash of all they depend on."""
        what = [self.cache.fingerprint, self.seed, self.draws, self.grid, self._stream, self.rows]
        what += [*self.known, "one noise" if self.shared else "own noise"]
        return blake2b(dumps(what).encode(), digest_size=8).hexdigest()

    @property
    def _stream(self) -> str:
        return f"noisy/{self.part}/{self.role}"

    def pairs(self, progress: Progress) -> NoisyPairs:
        """Return every two images of every row at every draw.

        Args:
            progress: told the rows looked at, of rows x draws.
        """
        each = len(self.rows)

        def told(draw: int) -> Callable[[int], None]:
            return lambda done: progress(draw * each + done, each * self.draws)

        return self._paired([self._shard(draw, told(draw)) for draw in range(self.draws)])

    def _shard(self, draw: int, tell: Callable[[int], None]) -> Shard:
        path = self.folder / f"noisy-{self.name}-{draw:03d}.safetensors"
        if path.exists():
            tell(len(self.rows))
            return load_weights(path)
        found: dict[str, list[Tensor]] = {"features": [], "own": [], "t": [], "row": []}
        done = 0
        for rows in self._batches():
            for name, value in self._seen(rows, draw).items():
                found[name].append(value)
            done += len(rows)
            tell(done)
        shard = {name: torch.cat(values) for name, values in found.items()}
        self.folder.mkdir(parents=True, exist_ok=True)
        save_tensors(path, shard)
        return shard

    def _batches(self) -> Iterator[Sequence[int]]:
        wanted = set(self.rows)
        for group in self._source.groups():
            kept = [row for row in group if row in wanted]
            for start in range(0, len(kept), self.batch):
                yield kept[start : start + self.batch]

    @property
    def _source(self) -> CachedPairs:
        return CachedPairs(
            cache=self.cache,
            seed=self.seed,
            prompts_per_step=1,
            time_ids=self.bundle.family.time_ids,
        )

    @torch.no_grad()
    def _seen(self, rows: Sequence[int], draw: int) -> Shard:
        """Look at rows, each noised to one t."""
        positions = torch.tensor(rows) * self.draws + draw
        batch = self._source.batch_of(rows, positions, drop=False)
        draws, k = Draws(self.seed, positions), batch.latents.shape[1]
        length, device = len(self.bundle.schedule), self.bundle.device
        x_0 = batch.latents.flatten(0, 1)
        stream, shape = f"{self._stream}/noise", tuple(x_0.shape[1:])
        if self.grid is None:
            t = draws.integers(f"{self._stream}/t", 0, length).repeat_interleave(k)
        else:
            t = torch.full((len(rows) * k,), self.grid[draw])
        if self.shared:
            noise = draws.normal(stream, shape).repeat_interleave(k, dim=0)
        else:
            noise = draws.normal(stream, shape, images=k).flatten(0, 1)
        x_t = self.bundle.schedule.noised(x_0, noise, t)
        cond = batch.row_cond().map(lambda tensor: tensor.to(device))
        prompts = tuple(prompt for prompt in batch.prompts for _ in range(k))
        looked = self.look(x_t.to(device), t.to(device), cond, prompts)
        return {
            "features": looked.features.float().cpu(),
            "own": looked.own.float().cpu(),
            "t": t,
            "row": torch.tensor(rows).repeat_interleave(k),
        }

    def _paired(self, shards: Sequence[Shard]) -> NoisyPairs:
        """Return every two images of a row; images of one row are neighbours in a shard."""
        columns: list[tuple[int, int, int, int, int, float, float]] = []
        prompts: dict[str, int] = {}
        start = 0
        for shard in shards:
            for place, row in _starts(shard["row"]):
                kept, t = self.cache.rows[row], int(shard["t"][place])
                prompt = prompts.setdefault(kept.prompt, len(prompts))
                for one, two in combinations(range(len(kept.scores)), 2):
                    first, second = start + place + one, start + place + two
                    share = _share(kept.scores, one, two)
                    columns.append((first, second, t, prompt, row, share, kept.weight))
            start += len(shard["row"])
        first, second, t, prompt, row, share, weight = zip(*columns, strict=True)
        return NoisyPairs(
            features=torch.cat([shard["features"] for shard in shards]),
            own=torch.cat([shard["own"] for shard in shards]),
            first=torch.tensor(first),
            second=torch.tensor(second),
            t=torch.tensor(t),
            prompt=torch.tensor(prompt),
            row=torch.tensor(row),
            share=torch.tensor(share),
            weight=torch.tensor(weight),
        )


def _starts(row: Tensor) -> list[tuple[int, int]]:
    """Return where every row's images begin, with the row."""
    told = row.tolist()
    return [(i, each) for i, each in enumerate(told) if i == 0 or told[i - 1] != each]


def _share(scores: Sequence[float], one: int, two: int) -> float:
    """Return the first image's share: its score where two scores have sum 1, else by order."""
    first, second = scores[one], scores[two]
    if len(scores) == 2 and 0 <= first <= 1 and abs(first + second - 1) < 1e-6:
        return first
    return (first > second) + 0.5 * (first == second)
