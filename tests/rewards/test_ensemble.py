"""The ensemble: the sum of its members as each is alone, whatever the sizes of the pictures."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from diffpref.errors import ConfigError, DataError, UsageError
from diffpref.rewards import LoadedScorer, load_scorer
from diffpref.rewards.ensemble.fit import read_spreads
from diffpref.rewards.ensemble.sight import alike, pack, unpack
from diffpref.rewards.pictures import picture_key, to_bytes
from diffpref.rewards.text import load_text_scorer
from tests.answering import Call, Reply, answering
from tests.rewards.judges import bright_is_good, prompt_of, said
from tests.rewards.text.conftest import PROMPTS
from tests.rewards.text.tiny_llm import write_classifier, write_gpm


@pytest.fixture
def mixed() -> list[Tensor]:
    """Pictures of different sizes, two of them with equally many pixels."""
    rng = torch.Generator().manual_seed(1)
    sizes = ((30, 20), (20, 30), (40, 40), (30, 20))
    return [torch.rand(3, y, x, generator=rng) for y, x in sizes]


def write(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "mine.yaml"
    path.write_text(text)
    return path


def member(name: str, weight: float, mean: float, std: float, **more: object) -> str:
    told = {"scorer": name, "weight": weight, "mean": mean, "std": std, **more}
    return f"  - {json.dumps(told)}\n"


def test_it_is_the_weighted_sum_of_its_members_alone(
    weights_dir: Path, tmp_path: Path, mixed: list[Tensor]
) -> None:
    names = ("pickscore", "hpsv2:2023", "laion-aesthetic-v2", "jpeg-size", "contrast")
    terms = [(name, 0.5 * n - 1, 0.3 * n, 1 + n) for n, name in enumerate(names)]
    text = "members:\n" + "".join(member(*term) for term in terms)
    path = write(tmp_path, text)
    ours = load_scorer(f"ensemble:{path}", weights_dir=weights_dir, published=False)
    found = ours.score(mixed, PROMPTS, batch_size=3).values.double()
    expected = torch.zeros(4, dtype=torch.float64)
    for name, weight, mean, std in terms:
        alone = load_scorer(name, weights_dir=weights_dir, published=False)
        expected += weight * (alone.score(mixed, PROMPTS).values.double() - mean) / std
    assert torch.allclose(found, expected, atol=1e-4)
    assert not ours.info.differentiable
    assert ours.info.needs_prompt
    assert ours.info.id == f"ensemble:{path}"
    assert "0.5 (jpeg-size - 0.9) / 4" in ours.info.scale
    files = [ref.file for ref in ours.info.weights]
    assert files[0] == "mine.yaml"
    assert len(files) == 5  # its own, and those of three scorers of which one has two
    moved = ours.to("cpu", torch.float32).score(mixed, PROMPTS).values
    assert torch.allclose(moved.double(), found, atol=1e-4)


def test_the_gradient_is_that_of_the_members_where_all_have_one(
    weights_dir: Path, tmp_path: Path, mixed: list[Tensor]
) -> None:
    text = "members:\n" + member("warmth", 2, 0.1, 0.5) + member("contrast", -1, 0, 0.2)
    ours = load_scorer("ensemble", weights=str(write(tmp_path, text)), weights_dir=weights_dir)
    assert ours.info.differentiable
    assert not ours.info.needs_prompt
    grads = []
    for score in (ours.reward, by_hand):
        pixels = torch.stack([mixed[0], mixed[3]]).requires_grad_()
        torch.autograd.backward(score(pixels, ("", "")).sum())
        assert pixels.grad is not None
        grads.append(pixels.grad)
    assert torch.allclose(grads[0], grads[1], atol=1e-6)


def by_hand(pixels: Tensor, prompts: tuple[str, ...]) -> Tensor:
    warm, contrast = load_scorer("warmth"), load_scorer("contrast")
    return 2 * (warm(pixels, prompts) - 0.1) / 0.5 - contrast(pixels, prompts) / 0.2


def test_parts_come_apart_as_they_went_together() -> None:
    parts = [torch.rand(2, 3, 4, 5), torch.zeros(2, 0), torch.rand(2, 7)]
    back = unpack(pack(parts))
    assert [part.shape for part in back] == [part.shape for part in parts]
    assert all(torch.equal(a, b) for a, b in zip(parts, back, strict=True))
    tall, wide = torch.rand(1, 3, 6, 2), torch.rand(1, 3, 2, 6)
    rows = torch.cat([pack([tall]), pack([wide]), pack([tall])])
    assert alike(rows) == [[0, 2], [1]]


def test_pictures_of_equal_area_in_one_batch_keep_their_order(tmp_path: Path) -> None:
    rng = torch.Generator().manual_seed(3)
    sizes = ((6, 4), (4, 6), (4, 6), (6, 4), (4, 6))
    pictures = [torch.rand(3, y, x, generator=rng) for y, x in sizes]
    path = write(tmp_path, "members:\n" + member("warmth", 1, 0, 1) + member("symmetry", 1, 0, 1))
    found = load_scorer(f"ensemble:{path}").score(pictures, "").values
    alone = [load_scorer(name).score(pictures, "").values for name in ("warmth", "symmetry")]
    assert torch.allclose(found, alone[0] + alone[1], atol=1e-5)


def test_a_verdict_that_fails_leaves_no_sum_and_says_whose_it_was(
    tmp_path: Path, mixed: list[Tensor]
) -> None:
    def reply(call: Call) -> Reply:
        return said("?") if prompt_of(call) == "odd" else bright_is_good(call)

    with answering(reply) as server:
        judge = tmp_path / "judge.yaml"
        judge.write_text(f"url: {server.url}\nmodel: m\ncache: none")
        text = "members:\n" + member("vlm-judge", 1, 5, 2, weights="judge.yaml")
        path = write(tmp_path, text + member("brightness", 1, 0, 1))
        found = load_scorer(f"ensemble:{path}").score(mixed, ["a", "odd", "b", "c"])
    assert found.values.isnan().tolist() == [False, True, False, False]
    assert found.flags[1] == ("unparsed",)
    assert found.reasons[1].startswith("vlm-judge:pointwise: no verdict")


# text members


def test_a_text_member_reads_the_prompt(tmp_path: Path, mixed: list[Tensor]) -> None:
    folder = write_classifier(tmp_path / "rm")
    more = {"weights": "rm", "ask": "Describe: {prompt}!"}
    path = write(tmp_path, "members:\n" + member("text:bradley-terry", 3, 1, 2, **more))
    found = load_scorer(f"ensemble:{path}").score(mixed, PROMPTS).values
    text = load_text_scorer("bradley-terry", weights=str(folder))
    alone = text.score([f"Describe: {p}!" for p in PROMPTS], PROMPTS).values
    assert torch.allclose(found, 3 * (alone - 1) / 2, atol=1e-4)


def save(folder: Path, pictures: list[Tensor]) -> None:
    for number, picture in enumerate(pictures):
        pixels = to_bytes(picture).permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(folder / f"{number}.png")


def captioned(folder: Path, pictures: list[Tensor]) -> LoadedScorer:
    write_classifier(folder / "rm")
    save(folder, pictures)
    lines = [{"image": f"{n}.png", "caption": f"number {n}"} for n in range(3)]
    (folder / "captions.jsonl").write_text("\n".join(map(json.dumps, lines)))
    more = {"weights": "rm", "captions": "captions.jsonl"}
    text = member("text:bradley-terry", 1, 0, 1, **more) + member("brightness", 1, 0, 1)
    return load_scorer(f"ensemble:{write(folder, 'members:' + chr(10) + text)}")


def test_a_text_member_reads_the_captions_of_the_pictures(
    tmp_path: Path, mixed: list[Tensor]
) -> None:
    ours = captioned(tmp_path, mixed)
    text = load_text_scorer("bradley-terry", weights=str(tmp_path / "rm"))
    alone = text.score(PROMPTS[:3], [f"number {n}" for n in range(3)]).values
    light = load_scorer("brightness").score(mixed[:3], "").values
    found = ours.score(mixed[2::-1], PROMPTS[2::-1]).values.flip(0)
    assert torch.allclose(found, alone + light, atol=1e-4)
    files = [tmp_path / f"{n}.png" for n in range(3)]
    assert torch.allclose(ours.score(files, PROMPTS[:3]).values, found, atol=1e-2)
    with pytest.raises(DataError, match="a picture of 20 x 30 pixels has no caption"):
        ours.score(mixed[3], "p")


def test_a_picture_is_known_by_its_pixels_and_size() -> None:
    picture = torch.rand(3, 4, 6, generator=torch.Generator().manual_seed(0))
    near = picture + 0.2 / 255 * torch.where(picture * 255 % 1 < 0.5, -1, 1)
    assert picture_key(near.clamp(0, 1)) == picture_key(to_bytes(picture) / 255)
    assert picture_key(picture) != picture_key(picture.flip(2))
    assert picture_key(picture.reshape(3, 6, 4)) != picture_key(picture)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"image": "9.png", "caption": "x"}', "captions.jsonl:4: no such file"),
        ('{"image": "../9.png", "caption": "x"}', "'..' is not allowed"),
        ('{"image": "0.png"}', "is no caption of an image"),
        ("{", "is no caption of an image"),
    ],
)
def test_a_wrong_line_of_captions_is_named(
    line: str, message: str, tmp_path: Path, mixed: list[Tensor]
) -> None:
    captioned(tmp_path, mixed)
    with (tmp_path / "captions.jsonl").open("a") as file:
        file.write("\n" + line)
    with pytest.raises(DataError) as caught:
        load_scorer(f"ensemble:{tmp_path / 'mine.yaml'}")
    assert message in str(caught.value)


# normalisation


def table(folder: Path, *rows: object) -> Path:
    header = {"schema": "diffpref-labels/1", "scorers": {"warmth": {}, "contrast": {}}, "n": 3}
    path = folder / "labels.jsonl"
    path.write_text("\n".join(map(json.dumps, (header, *rows))))
    return path


def row(*scores: float) -> dict[str, object]:
    return {"prompt": "p", "image": "i", "scores": list(scores)}


def test_mean_and_std_are_fitted_on_a_label_table(tmp_path: Path, mixed: list[Tensor]) -> None:
    found = read_spreads(table(tmp_path, row(1, 10), row(2, 10), row(6, 16)))
    assert (found["warmth"].mean, found["contrast"].mean) == (3, 12)
    assert found["warmth"].std == pytest.approx((14 / 3) ** 0.5)
    text = "fit: labels.jsonl\nmembers:\n  - {scorer: warmth}\n" + member("contrast", 1, 0, 1)
    ours = load_scorer(f"ensemble:{write(tmp_path, text)}")
    alone = [load_scorer(name).score(mixed, "").values for name in ("warmth", "contrast")]
    expected = (alone[0] - 3) / (14 / 3) ** 0.5 + alone[1]
    assert torch.allclose(ours.score(mixed, "").values, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder / "none.jsonl", "there is no label table"),
        (table, "holds no scores"),
        (lambda folder: table(folder, row(1)), "is damaged"),
        (lambda folder: table(folder, {"scores": [1, "2"]}), "is damaged"),
        (lambda folder: table(folder, row(1, 5), row(2, 5)), "all scores of contrast are the same"),
        (lambda folder: write(folder, '{"schema": "other"}'), "is no label table"),
    ],
)
def test_a_table_that_cannot_be_fitted_on_is_refused(
    make: Callable[[Path], Path], message: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=message):
        read_spreads(make(tmp_path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("members: []", "begin every entry with"),
        ("{}", "members: is not a list"),
        ("members:\n  - {scorer: warmth, mean: 1}", "std: is missing for warmth"),
        ("members:\n  - {scorer: warmth}", "mean: is missing for warmth"),
        ("members:\n  - {scorer: warmth, mean: 1, std: 0}", "it must be above 0"),
        ("members:\n  - {mean: 1, std: 1}", "scorer: is missing"),
        ("members:\n  - {scorer: 'ensemble:x', mean: 1, std: 1}", "is an ensemble itself"),
        ("members:\n  - {scorer: warmth, mean: 1, std: 1, ask: x}", "is for text scorers"),
        ("members:\n  - {scorer: 'text:gpm', mean: 1, std: 1, ask: x}", "names no prompt"),
        ("members:\n  - {scorer: warmth, mean: 1, std: 1, wieght: 2}", "did you mean 'weight'"),
        ("members:\n  - {scorer: warmth, mean: a, std: 1}", "is not a number"),
        ("temperature: 0\nmembers:\n  - {scorer: warmth, mean: 0, std: 1}", "above 0"),
    ],
)
def test_a_wrong_file_is_refused_by_the_field(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_scorer(f"ensemble:{write(tmp_path, text)}")
    assert message in str(caught.value)


def test_no_file_an_unknown_member_and_one_that_only_compares_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no file says who its members are"):
        load_scorer("ensemble")
    with pytest.raises(UsageError, match="there is no file"):
        load_scorer("ensemble:none.yaml")
    path = write(tmp_path, "members:\n" + member("pikscore", 1, 0, 1))
    with pytest.raises(UsageError, match="'pikscore' is not a scorer"):
        load_scorer(f"ensemble:{path}")
    write_gpm(tmp_path / "gpm")
    write(tmp_path, "members:\n" + member("text:gpm", 1, 0, 1, weights="gpm"))
    with pytest.raises(UsageError, match="text:gpm only compares"):
        load_scorer(f"ensemble:{path}", published=False)
    judge = tmp_path / "judge.yaml"
    judge.write_text("url: http://127.0.0.1:9\nmodel: m")
    write(tmp_path, "members:\n" + member("vlm-judge:pairwise", 1, 0, 1, weights="judge.yaml"))
    with pytest.raises(UsageError, match="vlm-judge:pairwise only compares"):
        load_scorer(f"ensemble:{path}")
