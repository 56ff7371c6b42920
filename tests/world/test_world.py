"""The oracle is exact on rendered scenes, says no to wrong captions, and reads only pixels."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from diffpref.errors import DataError, UsageError
from diffpref.world.captions import MOST, caption, parse, sample_statements
from diffpref.world.oracle import fidelity, rules
from diffpref.world.people import (
    FIDELITY_WEIGHT,
    PANELS,
    choice_probability,
    people,
    population_taste,
    self_consistency,
    utility,
)
from diffpref.world.render import render
from diffpref.world.scene import ATTRIBUTES, sample_scenes
from diffpref.world.sight import look
from diffpref.world.splits import split_of
from diffpref.world.taste import MEASURES, STANDARD, attributes

N = 600
STATEMENTS = st.fixed_dictionaries(
    {}, optional={name: st.sampled_from(values) for name, values in ATTRIBUTES.items()}
)


def scenes_and_words(n: int = N, seed: int = 5) -> tuple[torch.Tensor, list[dict[str, str]]]:
    scenes = sample_scenes(seed, torch.arange(n))
    return render(scenes), [scenes.words(row) for row in range(n)]


@given(STATEMENTS)
def test_a_caption_names_exactly_what_it_was_written_from(stated: dict[str, str]) -> None:
    assert parse(caption(stated)) == stated


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("two red circle", "circles"),
        ("two rad circles", "red"),
        ("two red circles on a whit background", "white"),
        ("red two circles", "not a count"),
        ("circles", "names no object"),
        ("a photo of a cat", "grammar|not a count"),
        ("two red red circles", "grammar"),
    ],
)
def test_what_is_no_caption_is_refused_with_the_nearest_word(text: str, says: str) -> None:
    with pytest.raises(DataError, match=says):
        parse(text)


def test_the_oracle_is_exact_on_every_rendered_attribute() -> None:
    images, words = scenes_and_words()
    scores = rules(images, tuple(caption(each) for each in words))
    for name, column in scores.items():
        wrong = [words[row] for row in range(N) if column[row] < 1]
        assert wrong == [], name


@pytest.mark.parametrize("name", list(ATTRIBUTES))
def test_a_caption_wrong_in_one_attribute_fails_that_rule_and_only_that(name: str) -> None:
    images, words = scenes_and_words(120)
    values = ATTRIBUTES[name]
    lies = [{**each, name: values[(values.index(each[name]) + 1) % len(values)]} for each in words]
    scores = rules(images, tuple(caption(each) for each in lies))
    assert float(scores[name].sum()) == 0.0
    others = [float(column.mean()) for rule, column in scores.items() if rule != name]
    assert others == [1.0] * 6


def test_fidelity_is_the_mean_over_the_stated_rules_only() -> None:
    images, words = scenes_and_words(1)
    truth = words[0]
    other = {name: values[0] for name, values in ATTRIBUTES.items() if values[0] != truth[name]}
    wrong = next(iter(other))
    right = next(name for name in truth if name != wrong)
    text = caption({wrong: other[wrong], right: truth[right]})
    assert float(fidelity(images, (text,))) == pytest.approx(0.5)


def test_an_empty_image_shows_nothing() -> None:
    seen = look(torch.full((1, 3, 32, 32), 0.9))
    assert int(seen.count) == 0
    assert float(fidelity(torch.full((1, 3, 32, 32), 0.9), ("two red circles",))) == 0.0


def test_the_oracle_survives_the_noise_of_a_generated_image() -> None:
    images, words = scenes_and_words()
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    scores = rules((images + 0.02 * noise).clamp(0, 1), tuple(caption(each) for each in words))
    assert min(float(column.mean()) for column in scores.values()) > 0.97


def test_scenes_depend_on_seed_and_position_only() -> None:
    whole = render(sample_scenes(3, torch.arange(10)))
    part = render(sample_scenes(3, torch.tensor([7, 2])))
    assert torch.equal(part, whole[[7, 2]])
    assert not torch.equal(render(sample_scenes(4, torch.arange(10))), whole)


def test_stated_attributes_are_what_the_scene_shows() -> None:
    positions = torch.arange(200)
    statements = sample_statements(1, positions)
    scenes = sample_scenes(2, positions, statements)
    assert all(
        scenes.words(row)[name] == value
        for row, stated in enumerate(statements)
        for name, value in stated.items()
    )
    assert {len(stated) for stated in statements} <= set(range(2, MOST + 1))


def test_captions_leave_every_attribute_free_somewhere() -> None:
    statements = sample_statements(1, torch.arange(400))
    for name in ATTRIBUTES:
        share = sum(name in stated for stated in statements) / 400
        assert share == 0 if name == "place" else 0.1 < share < 0.95, name


def test_taste_is_bounded_and_standardised_on_rendered_scenes() -> None:
    images = render(sample_scenes(0, torch.arange(4000)))
    for name, measure in MEASURES.items():
        values = measure(images)
        mean, std = STANDARD[name]
        assert float(values.mean()) == pytest.approx(mean, abs=4 * std / 4000**0.5), name
        assert float(values.std()) == pytest.approx(std, rel=0.05), name
    wild = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    assert float(attributes(wild).abs().max()) <= 1.0


def test_taste_is_differentiable_in_the_pixels() -> None:
    images = render(sample_scenes(0, torch.arange(2))).double().requires_grad_()
    for index in range(len(MEASURES)):
        (grad,) = torch.autograd.grad(attributes(images)[:, index].sum(), images)
        assert bool(torch.isfinite(grad).all())
        assert float(grad.abs().sum()) > 0


def test_utility_is_taste_minus_twice_what_fidelity_lacks() -> None:
    images, words = scenes_and_words(3)
    right = tuple(caption(each) for each in words)
    wrong = tuple(caption({"count": "one" if w["count"] != "one" else "two"}) for w in words)
    liked = attributes(images) @ population_taste()
    assert torch.allclose(utility(images, right), liked)
    assert torch.allclose(utility(images, wrong), liked - FIDELITY_WEIGHT)


def votes(panel: str, count: int = 60) -> tuple[float, float]:
    """Return self-consistency over pairs of one prompt, and how often votes follow the crowd."""
    positions = torch.arange(count * 10)
    stated = sample_statements(3, positions)
    first = attributes(render(sample_scenes(1, positions, stated)))
    second = attributes(render(sample_scenes(2, positions, stated)))
    common = (first - second) @ population_taste() > 0
    same, agree = [], []
    for person in people(0, count, panel):
        chance = choice_probability(person, first @ person.taste, second @ person.taste)
        same.append(self_consistency(chance))
        agree.append(float(torch.where(common, chance, 1 - chance).mean()))
    return sum(same) / count, sum(agree) / count


def test_people_repeat_themselves_as_often_as_humans_do() -> None:
    same, agree = votes("human")
    assert 0.75 <= same <= 0.80
    assert 0.60 <= agree <= 0.85


def test_control_panels_have_their_known_answers() -> None:
    assert votes("clean")[0] == pytest.approx(1.0)
    assert votes("noise") == pytest.approx((0.5, 0.5), abs=0.001)
    assert votes("opposites")[1] == pytest.approx(0.5, abs=0.03)
    clones = people(0, 5, "clones")
    assert all(torch.equal(each.taste, population_taste()) for each in clones)


def test_an_unknown_panel_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match="clones"):
        people(0, 1, "clone")
    assert set(PANELS) == {"human", "clean", "clones", "opposites", "noise"}


def test_splits_are_a_fixed_function_of_the_name() -> None:
    names = [f"prompt {index}" for index in range(4000)]
    shares = dict.fromkeys(("train", "validation", "test"), 0)
    for name in names:
        shares[split_of(name)] += 1
    assert shares["train"] / 4000 == pytest.approx(0.7, abs=0.03)
    assert shares["test"] / 4000 == pytest.approx(0.2, abs=0.03)
    assert split_of("two red circles") == split_of("two red circles")
