"""Checks of published numbers can fail: other weights, moved numbers and missing files show."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
import torch

from diffpref.evaluate.benchmarks.hpsv2 import STYLES
from diffpref.evaluate.pictures import png, to_bytes
from diffpref.rewards.resolve import MissingWeightsError
from tests.answering import Call, Reply, answering
from tests.rewards.examples import AbsentError, digest, texts_in
from tests.rewards.published import GOLDENS, Golden, Place, check, readme_texts, worst
from tests.rewards.test_goldens import attempt
from tests.rewards.text import tiny_llm

IDS = [golden.id for golden in GOLDENS]
WORLDPM = next(golden for golden in GOLDENS if golden.id == "worldpm")


def stand_in(_weights: Path, scorer: str, hashes: Sequence[str]) -> list[str]:
    """Return other texts than the published ones."""
    return [f"{scorer} says number {number}" for number, _ in enumerate(hashes)]


def draw_pictures(folder: Path) -> None:
    """Write noise under every name that a golden asks for."""
    names = ["hpsv2_demo_image.jpg", *(f"imagereward_{n}.webp" for n in range(1, 5))]
    names += [f"hpsv2_benchmark/sdxl-0.9/{style}/{n:05d}.jpg" for style in STYLES for n in (0, 1)]
    names += ["clipscore/images/a.png", "clipscore/images/b.png"]
    for seed, name in enumerate(names):
        noise = torch.rand(3, 40, 40, generator=torch.Generator().manual_seed(seed))
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(png(to_bytes(noise)))
    prompts = folder / "hpsv2_benchmark" / "prompts"
    prompts.mkdir()
    for style in STYLES:
        (prompts / f"{style}.json").write_text(json.dumps([f"{style} of a cat", "a dog"]))
    captions = json.dumps({"b": "a red thing", "a": "a blue thing"})
    (folder / "clipscore" / "good_captions.json").write_text(captions)


@pytest.fixture(scope="module")
def place(weights_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Tiny weights of every scorer with a golden, a server for WorldPM, and noise to score."""
    root, data = tmp_path_factory.mktemp("published"), tmp_path_factory.mktemp("data")
    draw_pictures(data)
    for name in ("imagereward", "hpsv2", "hpsv2.1", "clipscore"):
        (root / name).symlink_to(weights_dir / name)
    tiny_llm.write_classifier(root / "skywork-reward" / "gemma-2-27b", tiny_llm.gemma2())
    tiny_llm.write_armo(root / "armorm")
    with answering(lambda call: pooled(float(len(call.body["messages"][-1]["content"])))) as server:
        serve(root, server.url)
        yield Place(weights=root, data=data, published=False, texts=stand_in)


def serve(weights: Path, url: str) -> None:
    (weights / "worldpm").mkdir(exist_ok=True)
    told = f"url: {url}\nmodel: Qwen/WorldPM-72B\n"
    (weights / "worldpm" / "endpoint.yaml").write_text(told)


def pooled(reward: float) -> Reply:
    """Return vLLM's answer to /pooling: a number per token, of which the last counts."""
    row = {"index": 0, "object": "pooling", "data": [[-9.0], [7.0], [reward]]}
    usage = {"prompt_tokens": 3, "total_tokens": 3, "completion_tokens": 0}
    head = {"id": "pool-1", "object": "list", "created": 1, "model": "Qwen/WorldPM-72B"}
    return Reply({**head, "data": [row], "usage": usage})


def test_every_scorer_with_published_numbers_has_its_golden() -> None:
    assert {golden.scorer for golden in GOLDENS} == {
        "imagereward", "hpsv2", "hpsv2.1", "clipscore", "skywork-reward", "worldpm", "armorm"
    }  # fmt: skip
    assert len(set(IDS)) == len(IDS)


@pytest.mark.parametrize("golden", GOLDENS, ids=IDS)
def test_a_golden_fails_on_other_weights(golden: Golden, place: Place) -> None:
    with pytest.raises(AssertionError) as caught:
        check(golden, place)
    told = str(caught.value)
    assert golden.id in told
    assert "off by" in told
    assert "inf" not in told.split("off by")[1]


@pytest.mark.parametrize("golden", GOLDENS, ids=IDS)
def test_a_golden_passes_on_its_own_numbers_and_on_none_near_them(
    golden: Golden, place: Place
) -> None:
    found = golden.found(place)
    for values in found.values():
        own = replace(golden, expected=values, found=lambda _place: found)
        check(own, place)
        check(replace(golden, expected=tuple(v + 0.9 * golden.within for v in values)), place)
        for number in range(len(values)):
            moved = list(values)
            moved[number] += 1e3 * golden.within
            with pytest.raises(AssertionError, match=golden.id):
                check(replace(own, expected=tuple(moved)), place)


@pytest.mark.parametrize(
    ("found", "expected", "gap"),
    [
        ((1.0, 2.0), (1.0, 2.5), 0.5),
        ((1.0,), (1.0, 2.0), float("inf")),
        ((1.0, 2.0, 3.0), (1.0, 2.0), float("inf")),
        ((), (), float("inf")),
        ((float("nan"), 2.0), (1.0, 2.0), float("inf")),
        ((float("inf"),), (float("inf"),), float("inf")),
    ],
)
def test_what_is_missing_or_not_finite_is_never_near(
    found: tuple[float, ...], expected: tuple[float, ...], gap: float
) -> None:
    assert worst(found, expected) == gap


@pytest.mark.parametrize("golden", GOLDENS, ids=IDS)
def test_a_golden_without_its_weights_or_pictures_is_skipped(
    golden: Golden, place: Place, tmp_path: Path
) -> None:
    for lacking in (
        replace(place, weights=tmp_path),
        replace(place, data=None, texts=readme_texts),
        replace(place, data=tmp_path, texts=readme_texts),
    ):
        with pytest.raises((AbsentError, MissingWeightsError)):
            check(golden, lacking)
        with pytest.raises(pytest.skip.Exception):
            attempt(golden, lacking)


def test_part_of_the_benchmark_is_not_taken_for_all_of_it(place: Place) -> None:
    (golden,) = (each for each in GOLDENS if each.id == "hpsv2.1-benchmark-today")
    with pytest.raises(AbsentError, match="holds 8 prompts, not all"):
        check(golden, replace(place, published=True))


@pytest.mark.parametrize("swapped", [False, True])
def test_worldpm_passes_where_the_server_gives_the_published_rewards(
    swapped: bool, place: Place, tmp_path: Path
) -> None:
    _prompt, good, bad = stand_in(tmp_path, "worldpm", "abc")
    rewards = dict(zip((bad, good) if swapped else (good, bad), WORLDPM.expected, strict=True))
    order = count()

    def reply(call: Call) -> Reply:
        next(order)
        roles = [(turn["role"], turn["content"]) for turn in call.body["messages"]]
        assert roles[:2] == [("system", ""), ("user", _prompt)]
        return pooled(rewards[roles[2][1]])

    with answering(reply) as server:
        serve(tmp_path, server.url)
        here = replace(place, weights=tmp_path)
        if swapped:
            with pytest.raises(AssertionError, match="worldpm"):
                check(WORLDPM, here)
        else:
            check(WORLDPM, here)
    assert next(order) == 2


README = """\
# A model
```python
prompt = "What is red?"
turns = [{"role": "user", "content": prompt}, {"role": "assistant",
         "content": "A colour.\\nOf " "blood."}]
print(f"{prompt}")  # 0.5
```
```
prompt = "no python"
```
```python
this is (no python
```
"""


def test_texts_are_found_in_a_readme_by_their_hash(tmp_path: Path) -> None:
    wanted = ["A colour.\nOf blood.", "What is red?"]
    assert texts_in(README, [digest(text) for text in wanted]) == wanted
    with pytest.raises(AbsentError, match="1 of the 2 texts"):
        texts_in(README, [digest("What is red?"), digest("no python")])
    with pytest.raises(AbsentError, match=r"there is no .*README\.md"):
        readme_texts(tmp_path, "armorm", [digest(wanted[0])])
    (tmp_path / "armorm").mkdir()
    (tmp_path / "armorm" / "README.md").write_text(README)
    assert readme_texts(tmp_path, "armorm", [digest(wanted[0])]) == wanted[:1]
