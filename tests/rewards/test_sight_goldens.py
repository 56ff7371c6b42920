"""What scorers see of a picture is what published processors were recorded to make of it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from diffpref.rewards import load_scorer
from diffpref.rewards.blip_scorers import cut, squashed
from diffpref.rewards.frames import square_canvas
from diffpref.rewards.inputs import one_picture
from diffpref.rewards.sight import Framed, Sight
from tests.rewards.sights import CASES, FIXTURE, SIGHTS, SIZES, kept, picture
from tests.rewards.tiny import write_clip

COPIES = ("imagereward", "pickscore")
"""Sights that are clipscore's where nothing is cut."""

GOLDEN: dict[str, dict[str, Any]] = json.loads(FIXTURE.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def sights(tmp_path_factory: pytest.TempPathFactory, weights_dir: Path) -> dict[str, Sight]:
    """The scorers' own sights, of tiny networks that look at pictures of the published size."""
    folder = tmp_path_factory.mktemp("clip")
    write_clip(folder, side=224)
    names = {
        "clipscore": "clipscore:torchmetrics",
        "pickscore": "pickscore",
        "hps-today": "hpsv2:today",
        "hps-2023": "hpsv2.1:2023",
    }
    found: dict[str, Sight] = {
        ours: load_scorer(name, weights=str(folder), published=False).model.sight
        for ours, name in names.items()
    }
    canvas = load_scorer("vqascore:xl", weights_dir=weights_dir, published=False).model.sight
    assert isinstance(canvas, Framed)
    found["vqascore"] = replace(canvas, framing=square_canvas(336))
    return {**found, "imagereward": cut(224), "blip-itm": squashed(384)}


def near(golden: dict[str, Any], found: dict[str, Any]) -> bool:
    """Whether a picture is the recorded one: 8-bit pixels exactly, floats to their last digit."""
    same = all(golden.get(name) == found.get(name) for name in ("size", "bytes"))
    return same and all(
        found[name] == pytest.approx(golden[name], abs=2e-4) for name in ("mean", "std", "some")
    )


@pytest.mark.parametrize("sight", SIGHTS)
def test_a_sight_is_the_recorded_one_for_every_size_and_mode(
    sight: str, sights: dict[str, Sight]
) -> None:
    for case in CASES:
        found = kept(sight, sights[sight].reference(one_picture(picture(case), 0)))
        assert near(GOLDEN[sight][case], found), (sight, case, found, GOLDEN[sight][case])


def test_the_goldens_tell_the_sights_apart() -> None:
    for case in ("square", "excess-3", "tall"):
        seen = [GOLDEN[sight][case] for sight in SIGHTS if sight not in COPIES]
        assert not any(near(a, b) for n, a in enumerate(seen) for b in seen[n + 1 :])
    # torchvision's centre and transformers' differ where the excess is 3 modulo 4, nowhere else
    for case, size in SIZES.items():
        excess = int(224 * max(size) / min(size)) - 224
        same = near(GOLDEN["clipscore"][case], GOLDEN["pickscore"][case])
        assert same == (excess % 4 != 3), case
    assert GOLDEN["clipscore"] == GOLDEN["imagereward"]
