"""Further scorers that a head reads: read once, kept by content, and read again when it scores."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from diffpref.data.votes import read_votes
from diffpref.errors import DataError, UsageError
from diffpref.rewards import LoadedScorer, LoadOptions, load_scorer
from diffpref.rewards.heads.embeddings import EmbeddingStore, content_key, fingerprint
from diffpref.rewards.heads.extras import Extra, ExtraStore, load_extras, open_extras
from diffpref.rewards.heads.files import save_head
from diffpref.rewards.heads.head import EmbedderRef, ExtraRef, Head
from diffpref.rewards.heads.items import Block, Items, scales_of
from diffpref.rewards.heads.scoring import head_model, load_head_scorer
from diffpref.rewards.info import ScorerInfo
from diffpref.rewards.sight import Seen
from diffpref.types import PerRow
from tests.data.makers import pair
from tests.data.test_votes import source_of
from tests.rewards.conftest import PROMPTS
from tests.rewards.heads.conftest import pairs_of, random_head
from tests.rewards.heads.test_embeddings import INFO, Toy

SIGHT = Seen(id="none", look=lambda pixels: pixels)
NAMES = ("warmth", "world-reward@embedding", "world-reward")


@dataclass(frozen=True, kw_only=True)
class Judge:
    """Scores a picture by its red and the length of its prompt, and counts what it is asked."""

    info: ScorerInfo = INFO
    asked: list[str] = field(default_factory=list)
    silent: str = "nothing"
    sight: Seen = SIGHT

    def judge(self, seen: Tensor, prompts: tuple[str, ...], /) -> PerRow:
        self.asked.extend(prompts)
        length = torch.tensor([float(len(prompt)) for prompt in prompts])
        said = torch.tensor([prompt != self.silent for prompt in prompts])
        return torch.where(said, seen[:, 0].mean(dim=(1, 2)) + length, torch.nan)

    def embed_seen(self, seen: Tensor, /) -> Tensor:
        return Toy().embed_seen(seen)

    def overlong(self, prompts: Sequence[str], /) -> list[bool]:
        return [False] * len(prompts)

    def to(self, device: torch.device | None, dtype: torch.dtype | None, /) -> "Judge":
        del device, dtype
        return self


def judge(**told: object) -> Judge:
    return replace(Judge(), info=replace(INFO, name="judge", **told))  # pyright: ignore[reportArgumentType]


def extra_store(model: Judge, folder: Path, name: str = "judge") -> ExtraStore:
    embedder = EmbeddingStore(folder, LoadedScorer(Toy()))
    return open_extras([Extra(name=name, scorer=LoadedScorer(model))], embedder)[0]


def test_columns_follow_the_embedding_in_the_order_of_the_names(tmp_path: Path) -> None:
    rows = [pair(1, user="ana"), pair(2, user="bob")]
    model = judge()
    names = ("judge", "judge@embedding")
    extras = [Extra(name=name, scorer=LoadedScorer(model)) for name in names]
    store = EmbeddingStore(tmp_path, LoadedScorer(Toy()))
    opened = open_extras(extras, store)
    plain = read_votes({"train": source_of(rows)}, EmbeddingStore(tmp_path, LoadedScorer(Toy())))
    pairs = read_votes({"train": source_of(rows)}, store, opened).pairs
    assert pairs.images.shape == (4, 7)
    assert torch.equal(pairs.images[:, :3], plain.pairs.images)
    for place, prompt in ((pairs.first[0], rows[0].prompt), (pairs.second[1], rows[1].prompt)):
        assert 0 <= float(pairs.images[place, 3]) - len(prompt) <= 1
    assert torch.equal(pairs.images[:, 4:], pairs.images[:, :3])
    assert [(each.ref.name, each.ref.width) for each in opened] == [
        *zip(names, (1, 3), strict=True)
    ]
    # both read one store, of the judge's own file
    assert opened[0].store is opened[1].store is not store


@pytest.mark.parametrize("needs_prompt", [True, False])
def test_a_score_is_kept_by_content_and_by_prompt_where_that_is_read(
    needs_prompt: bool, tmp_path: Path
) -> None:
    one, other = pair(1), replace(pair(2), images=pair(1).images)
    source = {"train": source_of([one, other])}
    model = judge(needs_prompt=needs_prompt)
    embedder = EmbeddingStore(tmp_path, LoadedScorer(Toy()))
    stores = (extra_store(model, tmp_path),)
    found = read_votes(source, embedder, stores).pairs
    assert len(model.asked) == (4 if needs_prompt else 2)
    again = judge(needs_prompt=needs_prompt)
    back = read_votes(source, embedder, (extra_store(again, tmp_path),)).pairs
    assert again.asked == []
    assert torch.equal(found.images, back.images)


def test_a_scorer_without_a_verdict_is_named(tmp_path: Path) -> None:
    rows = [pair(1), pair(2)]
    store = EmbeddingStore(tmp_path, LoadedScorer(Toy()))
    silent = replace(judge(), silent=rows[1].prompt)
    with pytest.raises(DataError, match="no score for 2 of 4 pictures") as caught:
        read_votes({"train": source_of(rows)}, store, (extra_store(silent, tmp_path),))
    assert caught.value.where == "judge"


def test_what_cannot_be_read_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match="warmth has no embedding"):
        load_extras(["warmth@embedding"], LoadOptions())
    with pytest.raises(UsageError, match="named twice"):
        load_extras(["warmth", "warmth"], LoadOptions())
    with pytest.raises(UsageError, match="is not a scorer"):
        load_extras(["warmht"], LoadOptions())


def make_head(embedder: LoadedScorer) -> tuple[Head, tuple[Extra, ...]]:
    extras = load_extras(NAMES, LoadOptions())
    width = embedder.embed_prompts(["a"]).shape[1]
    rng = torch.Generator().manual_seed(3)
    total = 1 + 2 * width + 1
    image, prompt = torch.randn(30, total, generator=rng), torch.randn(30, width, generator=rng)
    index = torch.randint(0, 30, (40, 3), generator=rng)
    pairs = pairs_of(image, prompt, index, index[:, 0] % 2, torch.ones(40), 2)
    widths = (1, width, 1)
    refs = tuple(
        ExtraRef(name=each.name, width=size, fingerprint=fingerprint(each.scorer.info))
        for each, size in zip(extras, widths, strict=True)
    )
    blocks = [Block(width=each.width, saturates=not each.embeds) for each in refs]
    head = random_head("lore", pairs, {"ana": torch.tensor([2.0, 0.0, -2.0])})
    return replace(
        head,
        scales=scales_of(Items(image=image, prompt=prompt), blocks),
        embedder=EmbedderRef(
            scorer="world-reward", fingerprint=fingerprint(embedder.info), extras=refs
        ),
    ), extras


def test_a_head_reads_its_features_again_also_from_pictures_of_several_sizes(
    tmp_path: Path,
) -> None:
    embedder = load_scorer("world-reward")
    head, extras = make_head(embedder)
    save_head(tmp_path, head)
    rng = torch.Generator().manual_seed(4)
    sizes = [(32, 32), (40, 32), (32, 32), (32, 48)]
    images = [
        Image.fromarray((255 * torch.rand(*size, 3, generator=rng)).byte().numpy())
        for size in sizes
    ]
    prompts = list(PROMPTS[:2]) * 2
    scorer = LoadedScorer(load_head_scorer(LoadOptions(variant=f"{tmp_path}#ana")))
    columns = [
        embedder.embed_images(images),
        extras[0].scorer.score(images, prompts).values[:, None],
    ]
    columns += [columns[0], embedder.score(images, prompts).values[:, None]]
    expected = head.reward(torch.cat(columns, dim=1), embedder.embed_prompts(prompts), "ana")
    for batch in (1, 4):
        found = scorer.score(images, prompts, batch_size=batch).values
        assert torch.allclose(found, expected, atol=1e-4)
    moved = scorer.to("cpu", torch.float32).score(images, prompts).values
    assert torch.allclose(moved, expected, atol=1e-4)
    assert scorer.info.differentiable
    pixels = torch.rand(2, 3, 32, 32, generator=rng, requires_grad=True)
    torch.autograd.backward(scorer.reward(pixels, tuple(prompts[:2])).sum())
    assert pixels.grad is not None
    assert float(pixels.grad.abs().amax(dim=(1, 2, 3)).min()) > 0


def test_features_of_other_weights_or_another_order_are_refused() -> None:
    embedder = load_scorer("world-reward")
    head, extras = make_head(embedder)
    with pytest.raises(DataError, match="trained on other features"):
        head_model(head, embedder.model, None, extras[::-1])
    with pytest.raises(DataError, match="trained on other features"):
        head_model(head, embedder.model)
    first = replace(head.embedder.extras[0], fingerprint="")
    ref = replace(head.embedder, extras=(first, *head.embedder.extras[1:]))
    with pytest.raises(DataError, match="trained on another warmth"):
        head_model(replace(head, embedder=ref), embedder.model, None, extras)


def test_a_picture_is_scored_once_though_it_is_asked_for_twice(tmp_path: Path) -> None:
    model = judge()
    store = EmbeddingStore(tmp_path, LoadedScorer(model))
    red = Image.new("RGB", (4, 4), (255, 0, 0))
    key = content_key(b"red")
    with store:
        store.add_scores([(key, "a b", red), (key, "a b", red), (key, "a", red)])
    assert sorted(model.asked) == ["a", "a b"]
    back = EmbeddingStore(tmp_path, LoadedScorer(judge()))
    assert back.scores([(key, "a"), (key, "a b")])[:, 0].tolist() == pytest.approx([2.0, 4.0])
    assert back.unscored([(key, "a"), (key, "other")]) == [(key, "other")]
