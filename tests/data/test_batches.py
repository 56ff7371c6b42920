"""Windows of a cached data set as the loop receives them."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch

from diffpref.data.batches import CachedPairs
from diffpref.data.build import build_cache
from diffpref.data.cache import Cache
from diffpref.data.plan import CacheSettings
from diffpref.data.readers import open_records
from diffpref.data.records import Record
from diffpref.data.writers import write_jsonl
from diffpref.draws import Draws, permutation
from diffpref.errors import ConfigError
from diffpref.types import Nets, PreferenceBatch
from tests.data.makers import ToyEncoder, no_time_ids, pair, sdxl_time_ids

EXACT = CacheSettings(dtype="fp32")


def cached(folder: Path, rows: list[Record], encoder: ToyEncoder | None = None) -> Cache:
    source = open_records(str(write_jsonl(folder / "data", rows)))
    return build_cache(source, encoder or ToyEncoder(), folder / "cache", settings=EXACT)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return cached(tmp_path_factory.mktemp("pairs"), [pair(n) for n in range(20)])


def pairs(cache: Cache, size: int = 6, **more: object) -> CachedPairs:
    options = {"seed": 5, "time_ids": no_time_ids, **more}
    return CachedPairs(cache=cache, prompts_per_step=size, **options)  # type: ignore[arg-type]


def take(source: CachedPairs, count: int, first: int = 0) -> list[PreferenceBatch]:
    return list(islice(source.windows(first), count))


def test_a_window_holds_the_rows_of_its_positions(cache: Cache) -> None:
    order = permutation(5, 0, 20).tolist()
    first, second = take(pairs(cache), 2)
    assert first.positions.tolist() == list(range(6))
    assert second.positions.tolist() == list(range(6, 12))
    assert first.prompts == tuple(f"prompt {row}" for row in order[:6])
    assert second.prompts == tuple(f"prompt {row}" for row in order[6:12])
    assert first.score.tolist() == [[1, 0]] * 6
    assert first.weight is None
    assert first.time_ids is None
    assert first.latents.dtype == torch.float32


def test_latents_are_samples_of_the_posterior_keyed_by_position_and_image(cache: Cache) -> None:
    batch = take(pairs(cache), 3)[2]
    draws = Draws(5, batch.positions)
    noise = draws.normal("posterior", tuple(batch.latents.shape[2:]), images=2)
    rows = {row.prompt: row for row in cache.rows}
    posteriors = [cache.posterior(rows[prompt]) for prompt in batch.prompts]
    mean = torch.stack([mean for mean, _ in posteriors])
    std = torch.stack([std for _, std in posteriors])
    assert torch.equal(batch.latents, mean + std * noise)
    assert not torch.equal(noise[:, 0], noise[:, 1])


def test_a_window_is_a_function_of_seed_and_step(cache: Cache) -> None:
    whole = take(pairs(cache), 9)
    for step in (0, 3, 8):
        for batch in (take(pairs(cache), 1, step)[0], pairs(cache).window(step)):
            assert torch.equal(batch.latents, whole[step].latents)
            assert torch.equal(batch.positions, whole[step].positions)
            assert batch.prompts == whole[step].prompts
    other = pairs(cache, seed=6).window(0)
    assert other.prompts != whole[0].prompts


@pytest.mark.parametrize("world", [1, 2, 3, 4, 6, 8, 12, 24])
def test_any_number_of_processes_draws_the_same_samples(cache: Cache, world: int) -> None:
    for step, whole in enumerate(take(pairs(cache, 24, caption_drop=0.3), 3)):
        parts = [
            pairs(cache, 24, caption_drop=0.3, rank=rank, world=world).window(step)
            for rank in range(world)
        ]
        assert [part.positions.tolist() for part in parts] == [
            whole.positions[rank::world].tolist() for rank in range(world)
        ]
        order = torch.cat([part.positions for part in parts]).argsort()
        for name in ("latents", "score"):
            joined = torch.cat([getattr(part, name) for part in parts])[order]
            assert torch.equal(joined, getattr(whole, name))
        text = torch.cat([part.cond.text for part in parts])[order]
        assert torch.equal(text, whole.cond.text)


@pytest.mark.parametrize("world", [2, 4, 12])
def test_processes_share_the_effort_and_the_step_stays_what_it_was(
    cache: Cache, world: int
) -> None:
    def effort(draws: Draws) -> torch.Tensor:
        return 1 + draws.integers("t", 0, 1000) // 100

    for step, whole in enumerate(take(pairs(cache, 24, effort=effort), 3)):
        parts = [
            pairs(cache, 24, effort=effort, rank=rank, world=world).window(step)
            for rank in range(world)
        ]
        found = torch.cat([part.positions for part in parts]).argsort()
        assert torch.equal(torch.cat([part.latents for part in parts])[found], whole.latents)
        assert torch.equal(torch.cat([part.cond.text for part in parts])[found], whole.cond.text)
        sums = [int(effort(Draws(5, part.positions)).sum()) for part in parts]
        assert len({len(part.positions) for part in parts}) == 1
        assert max(sums) - min(sums) <= 9


def test_a_step_that_cannot_be_shared_evenly_is_refused(cache: Cache) -> None:
    with pytest.raises(ConfigError, match="for example 6"):
        pairs(cache, 7, world=3)
    with pytest.raises(ConfigError, match="for example 3"):
        pairs(cache, 1, world=3)


def test_captions_are_dropped_for_the_empty_one_as_often_as_asked(cache: Cache) -> None:
    empty = ToyEncoder().encode_text([""]).text[0]
    never = take(pairs(cache), 5)
    assert not any(torch.equal(text, empty) for batch in never for text in batch.cond.text)
    batches = take(pairs(cache, 20, caption_drop=0.2), 25)
    dropped = 0
    for batch in batches:
        expected = Draws(5, batch.positions).uniform("drop") < 0.2
        found = torch.tensor([torch.equal(text, empty) for text in batch.cond.text])
        assert torch.equal(found, expected)
        dropped += int(found.sum())
    assert 70 < dropped < 130
    assert all("" not in batch.prompts for batch in batches)


def test_sdxl_is_told_the_true_size_and_crop_of_each_image(tmp_path: Path) -> None:
    first, second = pair(1, size=(64, 64)), pair(2, size=(48, 80))
    row = Record(prompt="p", images=(first.images[0], second.images[1]), scores=(1.0, 0.0))
    cache = cached(tmp_path, [row], ToyEncoder(pooled=True))
    batch = pairs(cache, 1, time_ids=sdxl_time_ids).window(0)
    assert batch.time_ids is not None
    assert batch.time_ids.tolist() == [[[64, 64, 0, 0, 32, 32], [80, 48, 10, 0, 32, 32]]]
    told = batch.row_cond()
    assert told.time_ids is not None
    assert torch.equal(told.time_ids, batch.time_ids[0])
    assert told.pooled is not None
    assert len(told.pooled) == len(told) == 2


def test_weights_are_a_column_only_if_some_row_has_one(tmp_path: Path) -> None:
    cache = cached(tmp_path, [pair(1), pair(2, weight=0.25)])
    batch = pairs(cache, 2).window(0)
    assert batch.weight is not None
    assert dict(zip(batch.prompts, batch.weight.tolist(), strict=True)) == {
        "prompt 1": 1.0,
        "prompt 2": 0.25,
    }


def test_single_likes_are_windows_of_one_image(tmp_path: Path) -> None:
    cache = cached(tmp_path, [pair(n, scores=(float(n % 2),)) for n in range(4)])
    batch = pairs(cache, 4).window(0)
    assert batch.latents.shape[:2] == (4, 1)
    assert sorted(batch.score.flatten().tolist()) == [0, 0, 1, 1]


def test_rows_of_different_shapes_share_no_window_and_are_all_used(tmp_path: Path) -> None:
    rows = [pair(n) for n in range(6)]
    rows += [pair(n, scores=(3, 2, 1)) for n in range(10, 13)]
    cache = cached(tmp_path, rows)
    batches = take(pairs(cache, 2), 9)
    assert {batch.latents.shape[1] for batch in batches} == {2, 3}
    counts = [batch.latents.shape[1] for batch in batches]
    assert (counts.count(2), counts.count(3)) == (6, 3)
    seen = [prompt for batch in batches for prompt in batch.prompts]
    assert {prompt: seen.count(prompt) for prompt in seen} == {row.prompt: 2 for row in rows}
    assert [batch.positions.tolist() for batch in batches] == [[2 * n, 2 * n + 1] for n in range(9)]


def test_the_loop_may_use_it_as_a_source(cache: Cache) -> None:
    def net(x_t: torch.Tensor, t: torch.Tensor, cond: object, /) -> torch.Tensor:
        del t, cond
        return x_t

    nets = Nets(policy=net, reference=None)  # type: ignore[arg-type]
    batch = next(iter(pairs(cache)(nets, 4)))
    assert torch.equal(batch.latents, pairs(cache).window(4).latents)


class Backwards:
    """Turns every step round, and tells each row its own number as its user."""

    def arranged(self, drawn: Sequence[tuple[int, int]], /) -> Sequence[tuple[int, int]]:
        return list(reversed(drawn))

    def tell(self, batch: PreferenceBatch, numbers: Sequence[int], /) -> PreferenceBatch:
        user = torch.tensor(numbers, dtype=torch.float32)[:, None, None]
        return replace(batch, cond=replace(batch.cond, user=user))


@pytest.mark.parametrize("world", [1, 2, 3])
def test_users_see_whole_steps_whatever_the_number_of_processes(cache: Cache, world: int) -> None:
    order = permutation(5, 0, 20).tolist()[:6]
    found: dict[int, float] = {}
    for rank in range(world):
        batch = pairs(cache, 6, rank=rank, world=world, users=Backwards()).window(0)
        assert batch.cond.user is not None
        assert batch.prompts == tuple(f"prompt {int(row)}" for row in batch.cond.user[:, 0, 0])
        told = batch.cond.user[:, 0, 0].tolist()
        found |= dict(zip(batch.positions.tolist(), told, strict=True))
    assert found == dict(enumerate(order))
    first = pairs(cache, 6, users=Backwards()).window(0)
    assert first.positions.tolist() == [5, 4, 3, 2, 1, 0]
