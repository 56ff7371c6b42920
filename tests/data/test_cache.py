"""The cache: what it stores, how it resumes, and how damage is noticed."""

import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from diffpref.data.build import build_cache
from diffpref.data.cache import Cache, open_cache
from diffpref.data.care import verify
from diffpref.data.filters import Filters
from diffpref.data.plan import CacheSettings
from diffpref.data.readers import RecordSource, open_records
from diffpref.data.records import Record
from diffpref.data.rows import list_headers
from diffpref.data.writers import write_jsonl
from diffpref.errors import ConfigError, DataError
from diffpref.io import ImageCode
from tests.data.makers import ToyEncoder, pair, picture, png, write_lines

EXACT = CacheSettings(dtype="fp32", batch=4, shard=8)
Build = Callable[..., Cache]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """Build the cache of records in one folder; each call is a run of its own."""

    def make(
        rows: list[Record] | RecordSource,
        encoder: ToyEncoder | None = None,
        settings: CacheSettings = EXACT,
        filters: Filters | None = None,
    ) -> Cache:
        source = rows
        if isinstance(rows, list):
            source = open_records(str(write_jsonl(tmp_path / "data", rows)))
        assert isinstance(source, RecordSource)
        made = build_cache(
            source, encoder or ToyEncoder(), tmp_path / "cache", settings=settings, filters=filters
        )
        made.close()
        return made

    return make


def test_latents_and_text_are_those_of_the_encoder(build: Build) -> None:
    encoder = ToyEncoder(pooled=True)
    rows = [pair(n, user="ana", weight=0.5) for n in range(5)]
    cache = build(rows, encoder)
    for number, (cached, row) in enumerate(zip(cache.rows, rows, strict=True)):
        assert (cached.prompt, cached.scores, cached.user) == (row.prompt, row.scores, "ana")
        mean, std = cache.posterior(cached)
        pixels = torch.stack([_pixels(10 * number), _pixels(10 * number + 1)])
        expected, spread = encoder.encode_images(pixels)
        assert torch.equal(mean, expected)
        assert torch.equal(std, spread)
    told = cache.conditioning(["prompt 3", ""])
    expected_text = encoder.encode_text(["prompt 3", ""])
    assert torch.equal(told.text, expected_text.text)
    assert told.pooled is not None
    assert expected_text.pooled is not None
    assert torch.equal(told.pooled, expected_text.pooled)


def _pixels(seed: int) -> torch.Tensor:
    data = torch.frombuffer(bytearray(picture(seed).tobytes()), dtype=torch.uint8)
    return data.view(32, 32, 3).permute(2, 0, 1).float() / 255


def test_half_precision_is_stored_and_read_back_as_float32(build: Build) -> None:
    exact, half = build([pair(1)]), build([pair(1)], settings=CacheSettings())
    mean, _ = exact.posterior(exact.rows[0])
    rounded, _ = half.posterior(half.rows[0])
    assert rounded.dtype == torch.float32
    assert torch.equal(rounded, mean.half().float())


def test_an_image_and_a_prompt_are_encoded_once(build: Build) -> None:
    encoder = ToyEncoder()
    first = pair(1)
    swapped = Record(prompt="prompt 1", images=first.images[::-1], scores=(1.0, 0.0))
    mixed = Record(prompt="other", images=(first.images[0], pair(2).images[0]), scores=(1.0, 0.0))
    cache = build([first, swapped, mixed], encoder)
    assert encoder.images == 3
    assert sorted(encoder.prompts) == ["", "other", "prompt 1"]
    assert cache.rows[0].images == cache.rows[1].images[::-1]
    assert cache.report["images"] == 3
    assert cache.report["conflicts"] == 1


def test_a_second_run_encodes_nothing_and_changes_nothing(build: Build, tmp_path: Path) -> None:
    rows = [pair(n) for n in range(5)]
    first = build(rows)
    files = {path: path.read_bytes() for path in tmp_path.rglob("cache/**/*.*") if path.is_file()}
    encoder = ToyEncoder()
    second = build(rows, encoder)
    assert (encoder.images, encoder.prompts) == (0, [])
    assert second.fingerprint == first.fingerprint
    assert files == {path: path.read_bytes() for path in files}


def test_another_data_set_shares_what_is_already_encoded(build: Build) -> None:
    build([pair(n) for n in range(5)])
    encoder = ToyEncoder()
    cache = build([pair(n) for n in range(3, 7)], encoder)
    assert encoder.images == 4
    assert len(cache) == 4


@pytest.mark.parametrize(
    ("settings", "encoder", "images"),
    [
        (CacheSettings(dtype="bf16"), ToyEncoder(), 2),
        (CacheSettings(dtype="fp32", resolution=64), ToyEncoder(), 2),
        (EXACT, ToyEncoder(vae="another"), 2),
        (EXACT, ToyEncoder(text="another"), 0),
    ],
)
def test_vae_dtype_and_resolution_are_part_of_the_key(
    build: Build, settings: CacheSettings, encoder: ToyEncoder, images: int
) -> None:
    first = build([pair(1)])
    second = build([pair(1)], encoder, settings)
    assert encoder.images == images
    assert first.header["key"] != second.header["key"]
    assert first.fingerprint != second.fingerprint


def test_a_changed_picture_under_the_same_name_is_encoded_again(tmp_path: Path) -> None:
    row = {"prompt": "p", "images": ["a.png", "b.png"], "scores": [1, 0]}
    for name, seed in (("a.png", 1), ("b.png", 2)):
        (tmp_path / name).write_bytes(png(seed))
    path = str(write_lines(tmp_path / "rows.jsonl", [row]))
    first = build_cache(open_records(path), ToyEncoder(), tmp_path / "cache")
    (tmp_path / "a.png").write_bytes(png(3))
    os.utime(tmp_path / "a.png", ns=(1, 1))
    encoder = ToyEncoder()
    second = build_cache(open_records(path), encoder, tmp_path / "cache")
    assert encoder.images == 1
    assert first.rows[0].images[1] == second.rows[0].images[1]
    assert first.fingerprint != second.fingerprint


@pytest.mark.parametrize("die_after", [0, 8, 20])
def test_a_kill_loses_at_most_the_shard_it_was_writing(build: Build, die_after: int) -> None:
    rows = [pair(n) for n in range(12)]
    whole = build(rows, settings=CacheSettings(dtype="bf16", shard=8))
    dying = ToyEncoder()
    dying.die_after = die_after
    with pytest.raises(KeyboardInterrupt):
        build(rows, dying)
    again = ToyEncoder()
    cache = build(rows, again)
    assert dying.images + again.images <= 24 + 8
    assert again.images < 24 or die_after < 8
    assert [row.prompt for row in cache.rows] == [row.prompt for row in whole.rows]
    assert cache.report == whole.report
    assert not verify(cache.root).problems


def test_a_kill_between_any_two_files_leaves_a_cache_that_resumes(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Die before every single atomic write of a build in turn; the next run finishes it."""
    rows = [pair(n) for n in range(6)]
    writers = [
        ("diffpref.data.shelf", "save_tensors"),
        ("diffpref.data.shelf", "write_atomic"),
        ("diffpref.data.parts", "write_atomic"),
        ("diffpref.data.finish", "write_atomic"),
        ("diffpref.data.finish", "write_json"),
    ]
    deaths = 0
    for point in range(30):
        root = point * 1000
        calls = [0]
        with monkeypatch.context() as patch:
            for module, name in writers:
                _die_at(patch, module, name, calls, point)
            mine = [
                Record(prompt=r.prompt, images=pair(root + n).images, scores=r.scores)
                for n, r in enumerate(rows)
            ]
            try:
                build(mine)
                break
            except KeyboardInterrupt:
                deaths += 1
        cache = build(mine)
        assert len(cache) == 6
        assert not verify(cache.root).problems
    assert deaths >= 8


def _die_at(
    patch: pytest.MonkeyPatch, module: str, name: str, calls: list[int], point: int
) -> None:
    import importlib

    original = getattr(importlib.import_module(module), name)

    def counted(*args: object, **options: object) -> object:
        if calls[0] == point:
            raise KeyboardInterrupt
        calls[0] += 1
        return original(*args, **options)

    patch.setattr(f"{module}.{name}", counted)


def test_any_flipped_bit_of_a_shard_is_noticed(build: Build) -> None:
    cache = build([pair(n) for n in range(3)])
    assert verify(cache.root).problems == ()
    for path in cache.root.rglob("*.safetensors"):
        whole = path.read_bytes()
        for at in range(0, len(whole), max(1, len(whole) // 15)):
            damaged = bytearray(whole)
            damaged[at] ^= 1 << at % 8
            path.write_bytes(damaged)
            (problem,) = verify(cache.root).problems
            assert problem.startswith(str(path.relative_to(cache.root)))
        path.write_bytes(whole)
    assert verify(cache.root).problems == ()


def test_a_lost_or_shortened_file_is_named_and_made_again(build: Build) -> None:
    rows = [pair(n) for n in range(3)]
    cache = build(rows)
    (shard,) = (cache.root / "images").rglob("*.safetensors")
    shard.write_bytes(shard.read_bytes()[:-1])
    problems = verify(cache.root).problems
    assert any("bytes instead of" in problem for problem in problems)
    with pytest.raises(DataError, match="only what is missing is encoded"):
        open_cache(cache.root)
    encoder = ToyEncoder()
    assert len(build(rows, encoder)) == 3
    assert encoder.images == 6


def test_changed_rows_are_noticed(build: Build) -> None:
    cache = build([pair(1)])
    (path,) = (path for path in (cache.root / "rows").glob("*.jsonl") if "bad" not in path.name)
    path.write_text(path.read_text().replace("1.0", "0.9"))
    assert "rows" in verify(cache.root).problems[0]
    with pytest.raises(DataError, match="was changed"):
        open_cache(cache.root)


def test_bad_rows_are_listed_counted_and_left_out(build: Build, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "data", [pair(n) for n in range(30)])
    path = tmp_path / "data" / "metadata.jsonl"
    first = json.loads(path.read_text().splitlines()[0])["images"][0]
    (tmp_path / "data" / first).write_bytes(b"no picture")
    cache = build(open_records(str(path)))
    assert len(cache) == 29
    assert cache.report["bad"] == {ImageCode.FORMAT: 1}
    (bad,) = [json.loads(line) for line in cache.bad_rows.read_text().splitlines()]
    assert (bad["file"], bad["line"], bad["code"]) == ("metadata.jsonl", 1, ImageCode.FORMAT)


def lines(good: int, bad: int, folder: Path) -> RecordSource:
    (folder / "a.png").write_bytes(png(1))
    (folder / "b.png").write_bytes(png(2))
    row = {"prompt": "p", "images": ["a.png", "b.png"], "scores": [1, 0]}
    rows = [{**row, "prompt": f"p{n}"} for n in range(good)] + [{**row, "scores": 1}] * bad
    return open_records(str(write_lines(folder / "rows.jsonl", rows)))


def test_too_many_bad_rows_mean_a_wrong_file(build: Build, tmp_path: Path) -> None:
    source = lines(19, 3, tmp_path)
    with pytest.raises(DataError, match=r"2 of 22 rows are bad \(row-wrong-type x 2\)") as error:
        build(source)
    assert error.value.exit_code == 4
    loose = CacheSettings(dtype="fp32", max_bad_fraction=0.2)
    assert len(build(source, settings=loose)) == 19
    with pytest.raises(DataError, match="3 of 22"):
        build(source)


def test_one_bad_row_never_stops_a_run_unless_asked(build: Build, tmp_path: Path) -> None:
    source = lines(2, 1, tmp_path)
    assert len(build(source)) == 2
    with pytest.raises(DataError, match="1 of 3"):
        build(source, settings=CacheSettings(dtype="fp32", max_bad_fraction=0.0))


def test_a_bad_row_stops_the_run_when_asked(build: Build, tmp_path: Path) -> None:
    settings = CacheSettings(dtype="fp32", on_bad_row="error")
    with pytest.raises(DataError, match=r"rows\.jsonl:3: row-wrong-type") as error:
        build(lines(2, 1, tmp_path), settings=settings)
    assert error.value.exit_code == 4


def test_no_row_left_says_where_they_went(build: Build) -> None:
    with pytest.raises(DataError, match=r"no row is left of 2 \(tie: 2\)"):
        build([pair(n, scores=(0.5, 0.5)) for n in range(2)])


def test_filters_act_before_rows_are_numbered(build: Build) -> None:
    rows = [pair(n, scores=(0.5, 0.5) if n % 2 else (1, 0)) for n in range(9)]
    cache = build(rows, filters=Filters(max_rows=3))
    assert [row.prompt for row in cache.rows] == ["prompt 0", "prompt 2", "prompt 4"]
    assert cache.report["dropped"] == {"tie": 2}
    soft = build(rows, filters=Filters(ties="soft"))
    assert (len(soft), soft.report["ties"]) == (9, 4)


def test_absolute_winners_are_found_over_the_whole_source(build: Build) -> None:
    first, second = pair(1), pair(2)
    beaten = Record(
        prompt=first.prompt, images=(second.images[0], first.images[0]), scores=(1.0, 0.0)
    )
    cache = build([first, second, beaten], filters=Filters(absolute_winners=True))
    assert [row.images[0] for row in cache.rows] == [
        cache.rows[0].images[0],
        cache.rows[1].images[0],
    ]
    assert cache.report["dropped"] == {"no absolute winner": 1}


def test_geometry_is_true_for_every_image(build: Build) -> None:
    cache = build([pair(1, size=(64, 96)), pair(2, size=(20, 20))])
    numbers = cache.geometry(cache.rows[0])
    assert numbers.tolist() == [[96, 64, 8, 0, 32, 32]] * 2
    assert cache.report["upscaled"] == 2


def test_wide_images_keep_their_shape_in_a_bucket(build: Build) -> None:
    settings = CacheSettings(dtype="fp32", resolution=64)
    cache = build([pair(1, size=(96, 64)), pair(2, size=(64, 64))], settings=settings)
    shapes = [tuple(cache.posterior(row)[0].shape[1:]) for row in cache.rows]
    assert shapes[1] == (3, 32, 32)
    assert shapes[0][2] > shapes[0][1]
    assert set(cache.report["buckets"]) == {"64x64", "48x80"}
    square = CacheSettings(dtype="fp32", resolution=64, buckets=False)
    cache = build([pair(1, size=(96, 64))], settings=square)
    assert tuple(cache.posterior(cache.rows[0])[0].shape) == (2, 3, 32, 32)


def test_a_resolution_that_does_not_suit_the_model_names_the_nearest(build: Build) -> None:
    with pytest.raises(ConfigError, match=r"data\.resolution.*\n.*choose 48"):
        build([pair(1)], settings=CacheSettings(resolution=50))


def test_numbers_that_do_not_fit_are_refused(build: Build) -> None:
    class Loud(ToyEncoder):
        def encode_images(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            mean, std = super().encode_images(pixels)
            return mean * 1e6, std

    with pytest.raises(ConfigError, match="do not fit into fp16"):
        build([pair(1)], Loud(), CacheSettings())
    assert len(build([pair(1)], Loud(), EXACT)) == 1


def test_a_cache_opens_by_name_and_asks_when_it_holds_several(build: Build, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no finished cache"):
        open_cache(tmp_path)
    assert list(tmp_path.iterdir()) == []
    first = build([pair(1)])
    assert open_cache(tmp_path / "cache").rows[:] == first.rows[:]
    other = write_jsonl(tmp_path / "other", [pair(2)])
    second = build(open_records(str(other)))
    with pytest.raises(DataError, match="holds 2 data sets, choose one"):
        open_cache(tmp_path / "cache")
    assert open_cache(tmp_path / "cache", str(other)).rows[:] == second.rows[:]
    assert open_cache(tmp_path / "cache", second.header["key"]).rows[:] == second.rows[:]
    with pytest.raises(DataError, match="holds no 'nothing'"):
        open_cache(tmp_path / "cache", "nothing")
    assert len(list_headers(tmp_path / "cache")) == 2


def test_a_cache_of_another_model_is_refused(build: Build) -> None:
    cache = build([pair(1)])
    cache.require(ToyEncoder())
    with pytest.raises(DataError, match="another model \\(vae differ"):
        cache.require(ToyEncoder(vae="other"))


def test_a_read_only_cache_can_be_used(build: Build) -> None:
    cache = build([pair(1)])
    folders = [cache.root, *(path for path in cache.root.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    try:
        assert open_cache(cache.root).rows[:] == cache.rows[:]
    finally:
        for folder in folders:
            folder.chmod(0o755)


def test_two_runs_may_build_at_once(tmp_path: Path) -> None:
    """Over the same rows one waits for the other; over others they only share what is encoded."""
    same = open_records(str(write_jsonl(tmp_path / "same", [pair(n) for n in range(6)])))
    other = open_records(str(write_jsonl(tmp_path / "other", [pair(n) for n in range(3, 9)])))
    encoders = [ToyEncoder() for _ in range(3)]
    jobs = list(zip((same, same, other), encoders, strict=True))
    with ThreadPoolExecutor(3) as pool:
        caches = list(
            pool.map(lambda job: build_cache(*job, tmp_path / "cache", settings=EXACT), jobs)
        )
    assert [len(cache) for cache in caches] == [6, 6, 6]
    assert caches[0].fingerprint == caches[1].fingerprint
    assert 0 in {encoders[0].images, encoders[1].images}
    assert verify(tmp_path / "cache").problems == ()
