"""LAION's affine head: against its own collapse, the real file included, and its ReLU sibling."""

import os
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from diffpref.rewards import load_scorer
from diffpref.rewards.affine_head import load_affine_head
from diffpref.rewards.cards import SCORERS
from diffpref.rewards.state import Stored, WeightsMismatchError, count, read_state

DROPOUTS = (1, 3, 5)
DATA = os.environ.get("DIFFPREF_TEST_DATA")
FILE = "sac+logos+ava1-l14-linearMSE.pth"


def collapsed(state: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Multiply the layers out in float64: one row and one offset."""
    numbers = sorted({int(name.split(".")[1]) for name in state})
    row, offset = torch.eye(state["layers.0.weight"].shape[1], dtype=torch.float64), torch.zeros(1)
    offset = torch.zeros(row.shape[0], dtype=torch.float64)
    for number in numbers:
        weight = state[f"layers.{number}.weight"].double()
        offset = weight @ offset + state[f"layers.{number}.bias"].double()
        row = weight @ row
    return row, offset


def test_the_head_is_the_affine_map_its_layers_multiply_out_to(weights_dir: Path) -> None:
    stored = read_state(weights_dir / "laion-aesthetic-v2/head/predictor.pth")
    head = load_affine_head(
        stored, prefix="layers.", dropouts=DROPOUTS, other="give the linear one"
    )
    row, offset = collapsed(stored.state)
    points = torch.randn(9, 32)
    expected = points.double() @ row.T + offset
    assert torch.allclose(head(points).double(), expected, rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_the_score_is_the_head_on_the_unit_embedding(weights_dir: Path, pictures: Tensor) -> None:
    scorer = load_scorer("laion-aesthetic-v2", weights_dir=weights_dir, published=False)
    rows = scorer.embed_images(pictures)
    assert torch.allclose(rows.norm(dim=1), torch.ones(4), atol=1e-5)
    state = read_state(weights_dir / "laion-aesthetic-v2/head/predictor.pth").state
    row, offset = collapsed(state)
    expected = (rows.double() @ row.T + offset)[:, 0]
    assert torch.allclose(scorer.score(pictures, "").values.double(), expected, rtol=1e-5)
    told = scorer.score(pictures, "something else entirely").values
    assert torch.equal(told, scorer.score(pictures, "").values)


def test_the_card_counts_the_published_heads_numbers() -> None:
    widths = (768, 1024, 128, 64, 16, 1)
    numbers = sum((into + 1) * out for into, out in pairwise(widths))
    assert numbers == SCORERS["laion-aesthetic-v2"].part("head").parameters == 927_969


def test_the_head_with_relus_is_refused() -> None:
    layers = {0: (8, 6), 3: (6, 5), 6: (5, 4), 9: (4, 2), 11: (2, 1)}
    state = {
        f"layers.{n}.{kind}": value
        for n, (wide, narrow) in layers.items()
        for kind, value in nn.Linear(wide, narrow).state_dict().items()
    }
    stored = Stored(state=state, files=(), config={}, where="here")
    with pytest.raises(WeightsMismatchError, match=r"not the linear head.*\[0, 3, 6, 9, 11\]"):
        load_affine_head(stored, prefix="layers.", dropouts=DROPOUTS, other="give the linear one")


def test_a_tensor_too_many_is_refused(weights_dir: Path) -> None:
    stored = read_state(weights_dir / "laion-aesthetic-v2/head/predictor.pth")
    extra = Stored(
        state=stored.state | {"layers.9x": torch.zeros(1)}, files=(), config={}, where=""
    )
    with pytest.raises(WeightsMismatchError, match=r"1 unexpected: layers\.9x"):
        load_affine_head(extra, prefix="layers.", dropouts=DROPOUTS, other="give the linear one")


@pytest.mark.skipif(DATA is None, reason="DIFFPREF_TEST_DATA is not set")
def test_the_real_head_passes_the_safe_door_and_is_its_affine_collapse() -> None:
    stored = read_state(Path(str(DATA)) / FILE)
    part = SCORERS["laion-aesthetic-v2"].part("head")
    assert count(stored.state) == part.parameters
    assert {value.device.type for value in stored.state.values()} == {"cpu"}
    head = load_affine_head(
        stored, prefix="layers.", dropouts=DROPOUTS, other="give the linear one"
    )
    row, offset = collapsed(stored.state)
    unit = nn.functional.normalize(torch.randn(64, 768, generator=torch.Generator()), dim=-1)
    with torch.no_grad():
        found = head(unit)[:, 0].double()
    assert torch.allclose(found, (unit.double() @ row.T + offset)[:, 0], atol=1e-4)
    assert 0 < float(offset) < 10  # a mean opinion from 1 to 10
    (ref,) = stored.refs("laion-head")
    assert (ref.file, len(ref.sha256)) == (FILE, 64)
