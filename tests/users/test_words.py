"""A taste in words: what was liked more is named, with its sign; what is unclear is not."""

import torch
from PIL import Image

from diffpref.rewards import load_scorer
from diffpref.users.posterior import Gaps
from diffpref.users.words import WORDS, attributes_of, describe, mixed, read_words
from diffpref.world.taste import MEASURES, STANDARD


def votes(count: int, liked: str, seed: int = 0) -> Gaps:
    gap = torch.randn(count, len(WORDS), generator=torch.Generator().manual_seed(seed))
    share = (gap[:, list(WORDS).index(liked)] > 0).float()
    return Gaps(gap=gap, share=share, weight=torch.ones(count))


def test_every_measure_has_its_words() -> None:
    assert list(WORDS) == list(MEASURES) == list(STANDARD)


def test_a_liked_attribute_comes_first_and_goes_into_the_prompt() -> None:
    found = describe(votes(40, "warmth"))
    assert found.attributes[0].name == "warmth"
    assert found.liked[0] == "warm colours"
    assert found.disliked[0] == "cool colours"
    prompt, negative = found.prompt("a house", most=1)
    assert (prompt, negative) == ("a house, warm colours", "cool colours")


def test_the_opposite_votes_give_the_opposite_words() -> None:
    some = votes(40, "luminance")
    other = Gaps(gap=some.gap, share=1 - some.share, weight=some.weight)
    one, two = describe(some), describe(other)
    assert (one.liked, one.disliked) == (two.disliked, two.liked)
    assert one.liked[0] == "bright"


def test_without_votes_nothing_is_clear() -> None:
    found = describe(votes(0, "warmth"))
    assert found.liked == found.disliked == []
    assert found.prompt("a house") == ("a house", "")


def test_words_are_read_as_they_were_written_and_mix() -> None:
    one, two = describe(votes(30, "warmth")), describe(votes(30, "symmetry", 1))
    assert read_words(one.plain()) == one
    both = {each.name: each.weight for each in mixed([(0.5, one), (0.5, two)]).attributes}
    for name in ("warmth", "symmetry"):
        parts = [next(x.weight for x in each.attributes if x.name == name) for each in (one, two)]
        assert abs(both[name] - sum(parts) / 2) < 1e-12


def test_attributes_are_those_of_the_weight_free_scorers() -> None:
    image = Image.linear_gradient("L").resize((40, 24)).convert("RGB")
    found = dict(zip(WORDS, attributes_of(image).tolist(), strict=True))
    names = {"luminance": "brightness", "edge_energy": "edge-energy"}
    for name in ("luminance", "edge_energy", "symmetry"):
        score = float(load_scorer(names.get(name, name)).score([image], "x").values)
        mean, spread = STANDARD[name]
        assert abs(found[name] - (score - mean) / spread) < 1e-4
