"""The embedding cache: once per content, per scorer and weights, and never lost by a stop."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from diffpref.errors import DataError
from diffpref.io import load_weights
from diffpref.rewards.heads.embeddings import EmbeddingStore, content_key, fingerprint
from diffpref.rewards.info import ScorerInfo, WeightRef
from diffpref.rewards.model import Pixels
from diffpref.rewards.scorer import LoadedScorer
from diffpref.rewards.sight import Seen
from diffpref.types import PerRow

INFO = ScorerInfo(
    name="toy",
    kind="image-text",
    scale="none",
    range_hint=(0.0, 1.0),
    licence="none",
    differentiable=True,
    preprocess_id="p",
    weights=(WeightRef(file="w", sha256="aa", layout="toy"),),
)


@dataclass(frozen=True, kw_only=True)
class Toy:
    """Two towers that count what they are shown, and break after so many pictures."""

    info: ScorerInfo = INFO
    shown: list[int] = field(default_factory=list)
    read: list[str] = field(default_factory=list)
    breaks_after: int = 10**9

    @property
    def sight(self) -> Seen:
        return Seen(id="none", look=lambda pixels: pixels)

    def finish(self, cosine: Tensor, /) -> Tensor:
        return cosine

    def embed_seen(self, pixels: Pixels, /) -> Tensor:
        if sum(self.shown) + len(pixels) > self.breaks_after:
            raise KeyboardInterrupt
        self.shown.append(len(pixels))
        return torch.nn.functional.normalize(pixels.mean(dim=(2, 3)) + 0.01, dim=1)

    def embed_prompts(self, prompts: Sequence[str], /) -> Tensor:
        self.read.extend(prompts)
        rows = [[len(text), text.count("a"), 1.0] for text in prompts]
        return torch.nn.functional.normalize(torch.tensor(rows), dim=1)

    def judge(self, pixels: Pixels, prompts: tuple[str, ...], /) -> PerRow:
        return (self.embed_seen(pixels) * self.embed_prompts(prompts)).sum(dim=1)

    def overlong(self, prompts: Sequence[str], /) -> list[bool]:
        return [False] * len(prompts)

    def to(self, device: torch.device | None, dtype: torch.dtype | None, /) -> "Toy":
        del device, dtype
        return self


def pictures(count: int) -> dict[bytes, Image.Image]:
    made = [Image.new("RGB", (4, 4), (10 * n, 5 * n, 255 - 7 * n)) for n in range(count)]
    return {content_key(image.tobytes()): image for image in made}


def test_every_picture_and_prompt_is_embedded_once(tmp_path: Path) -> None:
    toy, images = Toy(), pictures(10)
    with EmbeddingStore(tmp_path, LoadedScorer(toy), batch=4) as store:
        store.add_images(images)
        store.add_images(images)
        store.add_prompts(["a cat", "a dog", "a cat"])
        store.add_prompts(["a dog"])
    assert toy.shown == [4, 4, 2]
    assert toy.read == ["a cat", "a dog"]
    keys = list(images)
    expected = LoadedScorer(Toy()).embed_images([images[key] for key in keys[::-1]])
    assert torch.equal(store.images(keys[::-1]), expected)
    found = store.prompts(["a dog", "a cat"])
    assert torch.equal(found, Toy().embed_prompts(["a dog", "a cat"]))


def test_a_second_run_finds_what_the_first_one_made(tmp_path: Path) -> None:
    images = pictures(6)
    with EmbeddingStore(tmp_path, LoadedScorer(Toy())) as store:
        store.add_images(images)
        store.add_prompts(["a"])
    again = Toy()
    later = EmbeddingStore(tmp_path, LoadedScorer(again))
    assert later.missing(list(images)) == []
    later.add_images(images)
    later.add_prompts(["a"])
    assert (again.shown, again.read) == ([], [])
    assert torch.equal(later.images(list(images)), store.images(list(images)))
    assert [path.name for path in tmp_path.iterdir()] == [store.path.name]


def test_an_interrupted_extraction_goes_on_where_it_was(tmp_path: Path) -> None:
    images = pictures(12)
    with (
        pytest.raises(KeyboardInterrupt),
        EmbeddingStore(tmp_path, LoadedScorer(Toy(breaks_after=8)), batch=4) as store,
    ):
        store.add_images(images)
    rest = Toy()
    with EmbeddingStore(tmp_path, LoadedScorer(rest), batch=4) as store:
        assert len(store.missing(list(images))) == 4
        store.add_images(images)
    assert rest.shown == [4]
    whole = LoadedScorer(Toy()).embed_images(list(images.values()))
    assert torch.equal(store.images(list(images)), whole)


def test_work_is_saved_on_the_way_so_that_a_kill_loses_little(tmp_path: Path) -> None:
    store = EmbeddingStore(tmp_path, LoadedScorer(Toy()), batch=4, save_every=0.0)
    store.add_images(pictures(8))
    assert len(load_weights(store.path)["images"]) == 8


def test_other_weights_or_another_reading_have_another_file(tmp_path: Path) -> None:
    others = [
        replace(INFO, weights=(WeightRef(file="w", sha256="bb", layout="toy"),)),
        replace(INFO, preprocess_id="q"),
        replace(INFO, tokenizer_id="t"),
        replace(INFO, name="toy2"),
        replace(INFO, variant="v"),
    ]
    prints = {fingerprint(info) for info in [INFO, *others]}
    paths = {EmbeddingStore(tmp_path, LoadedScorer(Toy(info=info))).path for info in others}
    assert (len(prints), len(paths)) == (6, 5)
    assert fingerprint(replace(INFO, licence="other")) == fingerprint(INFO)


def test_a_damaged_file_says_what_to_do(tmp_path: Path) -> None:
    with EmbeddingStore(tmp_path, LoadedScorer(Toy())) as store:
        store.add_images(pictures(2))
    store.path.write_bytes(store.path.read_bytes()[:50])
    with pytest.raises(DataError, match="delete it: the embeddings are then computed again"):
        EmbeddingStore(tmp_path, LoadedScorer(Toy()))
