"""Pictures on their way to the network: order, memory, threads, and what happens to bad ones."""

import threading
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from diffpref.errors import DataError
from diffpref.rewards import LoadedScorer, ScorerInfo, load_scorer
from diffpref.rewards.sight import Seen
from diffpref.rewards.stream import Batch, Unreadable, stream
from tests.rewards.conftest import PROMPTS


def sizes(count: int) -> list[Tensor]:
    """Return pictures of two sizes in turn, each filled with its number."""
    return [torch.full((3, 4, 4 + n % 2), n / 100) for n in range(count)]


def test_every_picture_comes_once_in_batches_of_one_size() -> None:
    found: dict[int, float] = {}
    for part in stream(sizes(11), lambda picture: picture, batch_size=3):
        assert isinstance(part, Batch)
        assert part.seen.shape[0] == len(part.index) <= 3
        found |= {n: float(seen.mean()) for n, seen in zip(part.index, part.seen, strict=True)}
    assert sorted(found) == list(range(11))
    assert all(abs(found[n] - n / 100) < 1e-6 for n in found)


def test_no_more_than_a_few_batches_are_prepared_ahead() -> None:
    prepared, lock, most = 0, threading.Lock(), []

    def look(picture: Tensor) -> Tensor:
        nonlocal prepared
        with lock:
            prepared += 1
        return picture

    taken = 0
    for part in stream([torch.zeros(3, 2, 2)] * 100, look, batch_size=4):
        assert isinstance(part, Batch)
        taken += len(part.index)
        most.append(prepared - taken)
    assert max(most) <= 3 * 4 + 1


def test_an_unreadable_picture_is_named_or_skipped(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no picture")
    Image.new("RGB", (4, 4)).save(tmp_path / "good.png")
    files = [tmp_path / "good.png", tmp_path / "bad.png", tmp_path / "gone.png"]
    with pytest.raises(DataError, match=r"images\[1\] bad\.png"):
        list(stream(files, lambda picture: picture, batch_size=2))
    parts = list(stream(files, lambda picture: picture, batch_size=2, skip_bad=True))
    bad = [part for part in parts if isinstance(part, Unreadable)]
    assert [part.number for part in bad] == [1, 2]
    assert "gone.png" in bad[1].reason


def test_skipped_pictures_score_nan_with_a_flag_and_a_reason(
    tmp_path: Path, pictures: Tensor
) -> None:
    images = [*pictures, tmp_path / "gone.png"]
    scorer = load_scorer("world-fidelity")
    found = scorer.score(images, [*PROMPTS, PROMPTS[0]], skip_bad=True)
    assert torch.isfinite(found.values[:4]).all()
    assert torch.isnan(found.values[4])
    assert found.flags == ((), (), (), (), ("unreadable",))
    assert list(found.reasons) == [4]
    assert torch.equal(found.values[:4], scorer.score(pictures, PROMPTS).values)


class Counting:
    """Two towers that count what they embed."""

    info = ScorerInfo(
        name="counting",
        kind="image-text",
        scale="cosine",
        range_hint=(-1.0, 1.0),
        licence="none",
        differentiable=True,
        preprocess_id="none",
    )
    sight = Seen(id="none", look=lambda pixels: pixels)

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.images = 0

    def embed_seen(self, seen: Tensor, /) -> Tensor:
        self.images += len(seen)
        return torch.nn.functional.normalize(seen.mean(dim=(2, 3)), dim=-1)

    def embed_prompts(self, prompts: list[str], /) -> Tensor:
        self.texts += prompts
        rows = torch.tensor([[len(text), 1.0, 2.0] for text in prompts])
        return torch.nn.functional.normalize(rows, dim=-1)

    def finish(self, cosine: Tensor, /) -> Tensor:
        return 10 * cosine

    def judge(self, seen: Tensor, prompts: tuple[str, ...], /) -> Tensor:
        return self.finish((self.embed_seen(seen) * self.embed_prompts(list(prompts))).sum(dim=1))

    def overlong(self, prompts: list[str], /) -> list[bool]:
        return [False] * len(prompts)

    def to(self, device: object, dtype: object, /) -> "Counting":
        del device, dtype
        return self


def test_every_prompt_and_every_picture_is_embedded_once() -> None:
    model, pictures = Counting(), torch.rand(24, 3, 4, 4)
    prompts = [f"{'long' * n}" for n in range(1, 7)]
    found = LoadedScorer(model).score(pictures, prompts, images_per_prompt=4, batch_size=5)
    assert sorted(model.texts) == sorted(prompts)
    assert model.images == 24
    matrix = LoadedScorer(model).score_matrix(pictures, prompts, batch_size=7)
    assert (model.images, len(model.texts)) == (48, 12)
    assert torch.allclose(matrix[torch.arange(24) // 4, torch.arange(24)], found.values)


class Judge:
    """Gives no verdict on dark pictures."""

    info = Counting.info
    sight = Counting.sight

    def judge(self, seen: Tensor, prompts: tuple[str, ...], /) -> Tensor:
        del prompts
        level = seen.mean(dim=(1, 2, 3))
        return torch.where(level < 0.5, torch.nan, level)

    def overlong(self, prompts: list[str], /) -> list[bool]:
        return [False] * len(prompts)

    def to(self, device: object, dtype: object, /) -> "Judge":
        del device, dtype
        return self


def test_no_verdict_is_nan_and_flagged_not_zero() -> None:
    images = torch.stack([torch.full((3, 2, 2), 0.9), torch.full((3, 2, 2), 0.1)])
    found = LoadedScorer(Judge()).score(images, "x")
    assert found.flags == ((), ("unparsed",))
    assert torch.isnan(found.values[1])


class Pairs:
    """Prefers the brighter picture, with certainty by how much brighter it is."""

    info = Counting.info
    sight = Counting.sight

    def prefer(self, first: Tensor, second: Tensor, prompts: tuple[str, ...], /) -> Tensor:
        del prompts
        return torch.sigmoid(10 * (first.mean(dim=(1, 2, 3)) - second.mean(dim=(1, 2, 3))))

    def overlong(self, prompts: list[str], /) -> list[bool]:
        return [False] * len(prompts)

    def to(self, device: object, dtype: object, /) -> "Pairs":
        del device, dtype
        return self


def test_a_scorer_that_only_compares_ranks_but_does_not_score() -> None:
    scorer = LoadedScorer(Pairs())
    images = [torch.full((3, 2, 2 + n), level) for n, level in enumerate((0.2, 0.9, 0.5))]
    assert scorer.rank("x", images) == [1, 2, 0]
    two = scorer.compare("x", images[:2])
    assert float(two[1]) == pytest.approx(float(torch.sigmoid(torch.tensor(7.0))), abs=1e-5)
    assert float(scorer.compare("x", images).sum()) == pytest.approx(1)
    for refused in (lambda: scorer.score(images, "x"), lambda: scorer.embed_images(images)):
        with pytest.raises(Exception, match=r"gives no scores|has no image embeddings"):
            refused()
