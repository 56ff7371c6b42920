"""Every image for every prompt: equal to scoring alone, each picture seen once."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from diffpref.rewards import SCORERS, LoadedScorer, load_scorer
from diffpref.rewards.model import ImageTower, LooksFirst
from tests.rewards.conftest import PROMPTS

TOWERS: dict[str, Callable[[Any], nn.Module]] = {
    "imagereward": lambda model: model.net.vision_model,
    "blip-itm": lambda model: model.net.vision_model,
    "mps": lambda model: model.net.host.clip.vision_model,
    "vqascore": lambda model: model.net.tower,
    "head": lambda model: model.embedder.net.visual,
}
"""Where the image tower is of each scorer that looks first."""


@contextmanager
def counted(tower: nn.Module) -> Iterator[list[int]]:
    """Collect how many pictures each pass of a tower sees."""
    passes: list[int] = []
    handle = tower.register_forward_hook(lambda _net, _told, found: passes.append(rows(found)))
    yield passes
    handle.remove()


def rows(found: Any) -> int:
    return len(found if isinstance(found, Tensor) else found[0])


def load(name: str, folder: Path) -> LoadedScorer:
    return load_scorer(name, weights_dir=folder, published=False)


@pytest.mark.parametrize("name", TOWERS)
def test_each_picture_is_looked_at_once_for_all_prompts(
    name: str, weights_dir: Path, pictures: Tensor
) -> None:
    scorer = load(name, weights_dir)
    told: list[tuple[int, int | None]] = []
    with counted(TOWERS[name](scorer.model)) as passes:
        matrix = scorer.score_matrix(
            pictures, PROMPTS[:3], batch_size=3, progress=lambda done, of: told.append((done, of))
        )
        assert passes == [3, 1]
        passes.clear()
        alone = [scorer.score(pictures, prompt, batch_size=3).values for prompt in PROMPTS[:3]]
        assert passes == [3, 1] * 3
    assert torch.allclose(matrix, torch.stack(alone), rtol=1e-5, atol=1e-6)
    assert float(matrix.std(dim=0).min()) > 5e-5
    assert told == [(3, 12), (6, 12), (9, 12), (10, 12), (11, 12), (12, 12)]
    assert not matrix.requires_grad


def test_every_fusion_scorer_that_can_look_first_does(weights_dir: Path) -> None:
    asked = [name for name, card in SCORERS.items() if card.kind == "fusion"]
    fusion = {name: load(name, weights_dir).model for name in asked}
    first = {name for name, model in fusion.items() if isinstance(model, LooksFirst)}
    assert first == set(TOWERS)
    # Qwen-VL reads picture and words as one sequence; a judge, an ensemble and the world's exact
    # scorers have no tower of their own.
    assert set(fusion) - first == {
        "hpsv3", "vlm-judge", "ensemble", "profile", "world-oracle", "world-fidelity"
    }  # fmt: skip


@pytest.mark.parametrize("name", SCORERS)
def test_no_prompts_or_no_pictures_give_an_empty_table(
    name: str, weights_dir: Path, pictures: Tensor
) -> None:
    scorer = load(name, weights_dir)
    assert scorer.score_matrix(pictures, []).shape == (0, len(pictures))
    assert scorer.score_matrix([], PROMPTS).shape == (len(PROMPTS), 0)
    if isinstance(scorer.model, ImageTower):
        assert scorer.embed_images([]).numel() == 0


def test_pictures_of_several_sizes_keep_their_place(weights_dir: Path, pictures: Tensor) -> None:
    scorer = load("hpsv3", weights_dir)
    wide = torch.nn.functional.interpolate(pictures[:1], size=(40, 80))[0].clamp(0, 1)
    mixed = [pictures[0], wide, pictures[1]]
    matrix = scorer.score_matrix(mixed, PROMPTS[:2], batch_size=2)
    alone = [[float(scorer.score(image, p).values) for image in mixed] for p in PROMPTS[:2]]
    assert torch.allclose(matrix, torch.tensor(alone), atol=1e-5)
