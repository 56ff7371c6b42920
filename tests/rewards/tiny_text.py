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


TINY: Mapping[str, Callable[[Path], None]] = {
    **{card.name: write_nothing for card in weight_free.CARDS},
    "vlm-judge": write_judge,
}
