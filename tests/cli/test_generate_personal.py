"""`diffpref generate --profile`: told to an adapter, re-ranked, compared; nobody is the base."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from diffpref.cli import main
from diffpref.evaluate.opened import Opened, facts_of
from diffpref.evaluate.personal import open_adapter, personal_subject
from diffpref.evaluate.pictures import to_bytes
from diffpref.evaluate.side_by_side import columns_of, draw_columns
from diffpref.io import open_image, png_text
from diffpref.models import (
    AdapterConfig,
    add_user_adapter,
    load_bundle,
    load_lora,
    make_adapter,
    save_lora,
    save_user_adapter,
    trainable_parameters,
)
from diffpref.models.sample import sample
from diffpref.models.sample_settings import SampleSettings
from diffpref.rewards import load_scorer
from diffpref.users import UserProfile, find_prior, null_profile, profile_scorer, save_profile
from diffpref.users.posterior import Belief
from diffpref.users.somebody import somebody
from tests.models.conftest import write_sd15

FEW = ("--steps", "1", "--guidance", "2")
HOW = SampleSettings(steps=1, guidance=2.0)


def person(seed: int = 3) -> UserProfile:
    """Somebody of the bundled population, as if after many votes."""
    start = null_profile(find_prior("bt-world"))
    sure = Belief(mean=start.belief.mean, cov=start.belief.cov / 4)
    return replace(somebody(replace(start, belief=sure), seed), pairs=32, effective=32.0)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, a user adapter trained on nothing that says much, a LoRA, two profiles."""
    root = tmp_path_factory.mktemp("personal")
    base = write_sd15(root / "base")
    bundle = load_bundle(str(base))
    adapter = add_user_adapter(bundle.unet, width=4)
    rng = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for layer in adapter.layers.values():
            value = layer.get_parameter("to_v_ip.weight")
            value.copy_(torch.randn(value.shape, generator=rng))
    mine = person()
    about = {"base": bundle.fingerprint, "encoder": mine.fingerprint, "prior": mine.prior.name}
    save_user_adapter(root / "trained", bundle.unet, about)
    other = load_bundle(str(base))
    make_adapter(other, AdapterConfig(rank=2))
    with torch.no_grad():
        for value in trainable_parameters(other.unet).values():
            value.add_(0.3)
    save_lora(root / "lora", other)
    save_profile(root / "me.profile", mine)
    save_profile(root / "you.profile", person(4))
    return root


def made(home: Path, out: Path, *more: str | Path, prompts: tuple[str, ...] = ("a", "b")) -> int:
    words = ["generate", *prompts, "--model", str(home / "base"), "--out", str(out), *FEW]
    return main([*words, *map(str, more)])


def pixels(path: Path) -> Tensor:
    image = open_image(path, where="test")
    data = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    return data.view(image.height, image.width, 3)


def equal(one: Path, two: Path) -> bool:
    return torch.equal(pixels(one), pixels(two))


def test_without_a_profile_or_at_strength_zero_an_adapter_changes_not_one_bit(
    home: Path, tmp_path: Path
) -> None:
    mine = ("--profile", home / "me.profile", "--adapter", home / "trained")
    assert made(home, tmp_path / "base") == 0
    assert made(home, tmp_path / "nobody", "--adapter", home / "trained") == 0
    assert made(home, tmp_path / "zero", *mine, "--strength", "0") == 0
    assert made(home, tmp_path / "mine", *mine, "--strength", "0.8") == 0
    for name in ("0000-0.png", "0001-0.png"):
        assert equal(tmp_path / "nobody" / name, tmp_path / "base" / name)
        assert equal(tmp_path / "zero" / name, tmp_path / "base" / name)
        assert not equal(tmp_path / "mine" / name, tmp_path / "base" / name)
    told = png_text(tmp_path / "mine" / "0000-0.png")
    assert (told["profile"], told["strength"]) == (person().sha256, "0.8")
    assert not any("me.profile" in text or str(home) in text for text in told.values())


def test_the_images_are_those_of_the_python_call(home: Path, tmp_path: Path) -> None:
    mine = ("--profile", home / "me.profile", "--adapter", home / "trained")
    assert made(home, tmp_path, *mine, "--strength", "0.5") == 0
    bundle = load_bundle(str(home / "base"))
    opened = open_adapter(Opened(name="b", bundle=bundle, facts=facts_of(bundle)), home / "trained")
    users = person().embedding.expand(2, -1)
    expected = to_bytes(sample(bundle, ["a", "b"], settings=HOW, users=users, strength=0.5))
    assert torch.equal(pixels(tmp_path / "0001-0.png").permute(2, 0, 1), expected[1])
    assert opened.facts["users_by"] == person().fingerprint


def test_the_best_of_n_is_the_best_of_the_n_images_by_the_profiles_reward(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = ("--profile", home / "me.profile", "--rerank", "5", "--n", "2", "--json")
    assert made(home, tmp_path / "best", *few, "--seed", "3") == 0
    rows: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    bundle, prompts = load_bundle(str(home / "base")), ["a", "b"]
    judge = profile_scorer(person(), load_scorer("world-reward"))
    seeds = range(3, 8)
    all_ = [sample(bundle, prompts, seed=seed, settings=HOW) for seed in seeds]
    scores = torch.stack([judge.score(images, prompts).values for images in all_])
    for p in range(2):
        order = scores[:, p].argsort(descending=True)[:2].tolist()
        mine = [row for row in rows if row["prompt"] == prompts[p]]
        assert [row["seed"] for row in mine] == [seeds[each] for each in order]
        best = pixels(Path(mine[0]["file"])).permute(2, 0, 1)
        assert torch.equal(best, to_bytes(all_[order[0]][p]))
    told = png_text(tmp_path / "best" / "0000-best1.png")
    assert (told["rerank"], told["profile"]) == ("5", person().sha256)
    assert "strength" not in told  # there is no adapter it could be the strength of


def test_two_people_may_choose_differently_and_reranking_works_with_an_adapter(
    home: Path, tmp_path: Path
) -> None:
    both = ("--profile", home / "me.profile", "--adapter", home / "trained", "--rerank", "3")
    assert made(home, tmp_path, *both) == 0
    told = png_text(tmp_path / "0000-best1.png")
    assert (told["strength"], told["rerank"], told["adapter"]) == ("1", "3", "trained")


def test_a_grid_shows_base_population_mine_and_somebody_else_of_the_same_seeds(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = ("--profile", home / "me.profile", "--adapter", home / "trained", "--compare")
    assert made(home, tmp_path, *few, "--n", "2", "--json") == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["columns"] == ["base", "population", "mine", "somebody else's"]
    told = png_text(tmp_path / "compare.png")
    assert told["profile"] == person().sha256
    assert told["other"] == somebody(person(), 0).sha256
    assert told["somebody"] == "drawn, seed 0"
    assert made(home, tmp_path, *few) == 2  # it exists
    assert made(home, tmp_path, *few, "--force", "--other", home / "you.profile") == 0
    assert png_text(tmp_path / "compare.png")["other"] == person(4).sha256


def columns(home: Path, *, lora: bool = False, rerank: bool = False) -> Tensor:
    bundle = load_bundle(str(home / "base"))
    if lora:
        load_lora(bundle, str(home / "lora"))
    opened = Opened(name="b", bundle=bundle, facts=facts_of(bundle))
    if not rerank:
        opened = open_adapter(opened, home / "trained")
    asked = columns_of(opened, HOW, mine=person(), other=person(4), strength=0.8, rerank=rerank)
    embedder = load_scorer("world-reward") if rerank else None
    return draw_columns(opened, HOW, asked, ["a"], n=1, pool=4, embedder=embedder)[:, 0, 0]


def test_the_columns_are_what_they_are_called(home: Path) -> None:
    base, population, mine, other = columns(home)
    bundle = load_bundle(str(home / "base"))
    assert torch.equal(base, to_bytes(sample(bundle, ["a"], settings=HOW))[0])
    opened = open_adapter(Opened(name="b", bundle=bundle, facts={}), home / "trained")

    def told(vector: Tensor) -> Tensor:
        users = vector[None]
        found = sample(opened.bundle, ["a"], settings=HOW, users=users, strength=0.8)
        return to_bytes(found)[0]

    assert torch.equal(population, told(torch.zeros(4)))
    assert torch.equal(mine, told(person().embedding))
    assert torch.equal(other, told(person(4).embedding))
    assert not torch.equal(mine, other)


def test_with_a_lora_the_population_is_the_lora_and_mine_stands_on_it(home: Path) -> None:
    base, population, mine, _ = columns(home, lora=True)
    bundle = load_bundle(str(home / "base"))
    assert torch.equal(base, to_bytes(sample(bundle, ["a"], settings=HOW))[0])
    load_lora(bundle, str(home / "lora"))
    assert torch.equal(population, to_bytes(sample(bundle, ["a"], settings=HOW))[0])
    opened = open_adapter(Opened(name="b", bundle=bundle, facts={}), home / "trained")
    subject = personal_subject(opened, HOW, person(), 0.8)
    images = subject.sample(["a"], seed=0, positions=[0], on_progress=None)
    assert torch.equal(mine, to_bytes(images)[0])
    assert len({bytes(each.numpy().tobytes()) for each in (base, population, mine)}) == 3


def test_without_an_adapter_the_columns_are_choices_from_one_pool(home: Path) -> None:
    base, *chosen = columns(home, rerank=True)
    bundle = load_bundle(str(home / "base"))
    pool = [to_bytes(sample(bundle, ["a"], seed=each, settings=HOW))[0] for each in range(4)]
    assert torch.equal(base, pool[0])
    assert all(any(torch.equal(each, one) for one in pool) for each in chosen)


def test_it_works_on_a_lora_from_the_command_line(home: Path, tmp_path: Path) -> None:
    few = ("--profile", home / "me.profile", "--adapter", home / "trained")
    assert made(home, tmp_path, *few, "--lora", home / "lora", "--compare") == 0
    assert open_image(tmp_path / "compare.png", where="test").width > 4 * 160


def test_a_profile_of_few_votes_is_said_to_be_one(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_profile(tmp_path / "new.profile", replace(person(), pairs=2, effective=2.0))
    few = ("--profile", tmp_path / "new.profile", "--adapter", home / "trained")
    assert made(home, tmp_path / "out", *few) == 0
    assert "too few pairs: 2 of at least 4" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--rerank", "4"), "--rerank: needs --profile"),
        (("--compare",), "--compare: needs --profile"),
        (("--profile", "ME"), "--adapter RUN"),
        (("--profile", "ME", "--compare"), "--adapter RUN"),
        (("--profile", "ME", "--rerank", "2", "--n", "3"), "cannot keep 3 of 2"),
        (("--profile", "ME", "--adapter", "BASE"), "holds no user adapter"),
        (("--profile", "ME", "--rerank", "2", "--other", "ME"), "add --compare"),
    ],
)
def test_a_mistake_is_named_with_a_remedy(
    home: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    said: str,
) -> None:
    known = {"ME": str(home / "me.profile"), "BASE": str(home / "base")}
    assert made(home, tmp_path, *(known.get(word, word) for word in words)) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_profile_of_another_population_is_refused_by_name(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = load_bundle(str(home / "base"))
    add_user_adapter(bundle.unet, width=4)
    about = {"encoder": "bt/world-reward/0123456789abcdef", "prior": "mine"}
    save_user_adapter(tmp_path / "other", bundle.unet, about)
    few = ("--profile", home / "me.profile", "--adapter", tmp_path / "other")
    assert made(home, tmp_path / "out", *few) == 2
    said = capsys.readouterr().err
    assert "bt/world-reward/0123456789abcdef" in said
    assert "--prior mine" in said


def test_an_adapter_of_another_base_is_said_to_be_one(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = load_bundle(str(home / "base"))
    add_user_adapter(bundle.unet, width=4)
    about = {"base": "elsewhere", "encoder": person().fingerprint}
    save_user_adapter(tmp_path / "other", bundle.unet, about)
    few = ("--profile", home / "me.profile", "--adapter", tmp_path / "other")
    assert made(home, tmp_path / "out", *few) == 0
    assert "trained on another base" in capsys.readouterr().err


def test_the_personalizer_makes_what_the_command_makes(home: Path, tmp_path: Path) -> None:
    from diffpref.evaluate.personalizer import Personalizer

    mine = ("--profile", home / "me.profile", "--adapter", home / "trained")
    assert made(home, tmp_path / "told", *mine, "--n", "2") == 0
    assert made(home, tmp_path / "best", *mine, "--rerank", "3") == 0
    own = Personalizer.load(
        str(home / "base"),
        profile=home / "me.profile",
        adapter=home / "trained",
        settings=HOW,
    )
    for row, name in zip(own(["a", "b"], n=2), ("0000", "0001"), strict=True):
        for seed, image in enumerate(row):
            file = tmp_path / "told" / f"{name}-{seed}.png"
            assert image.tobytes() == open_image(file, where="test").tobytes()
    for row, name in zip(own.rerank(["a", "b"], n=3, keep=1), ("0000", "0001"), strict=True):
        file = tmp_path / "best" / f"{name}-best1.png"
        assert row[0].tobytes() == open_image(file, where="test").tobytes()
