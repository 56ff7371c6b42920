"""What the weight-free scorers and the described ones need in WEIGHTS_DIR."""

from collections.abc import Callable, Mapping
from pathlib import Path

from diffpref.rewards.cards import weight_free
from tests.rewards.judges import standing_judge


def write_nothing(_folder: Path) -> None:
    """Weight-free scorers need none."""


def write_judge(folder: Path) -> None:
    """Describe a judge that stands on this machine."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [f"url: {standing_judge().url}/v1", "model: bright", "cache: none"]
    (folder / "judge.yaml").write_text("\n".join(lines))


ENSEMBLE = """\
members:
  - scorer: hpsv2
    weight: 2.0
    mean: 0.1
    std: 0.2
  - scorer: brightness
    mean: 0.5
    std: 0.25
"""


def write_ensemble(folder: Path) -> None:
    """Describe the sum of a two-tower scorer, whose weights are written too, and an attribute."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ensemble.yaml").write_text(ENSEMBLE)


TINY: Mapping[str, Callable[[Path], None]] = {
    **{card.name: write_nothing for card in weight_free.CARDS},
    "vlm-judge": write_judge,
    "ensemble": write_ensemble,
}
