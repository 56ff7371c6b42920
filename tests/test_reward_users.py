"""Scorers as users: what the page says of scores that are known."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from scripts.people.reward_table import SHARES, write_page

USERS = ["red", "blue"]


def rows() -> list[dict[str, Any]]:
    """Three prompts; told of red, red scores 1 more than pooled, and blue loses as much."""
    base = torch.tensor([[0.0], [1.0], [2.0]])

    def row(name: str, red: float, blue: float) -> dict[str, Any]:
        return {
            "row": name,
            "scores": {"red": (base + red).tolist(), "blue": (base + blue).tolist()},
        }

    ends = {"base": (0.0, 0.0), "pooled": (0.5, 0.5), "ppd/red": (1.5, -0.5)}
    mixes = {f"mix/red/blue/{share}": (1.5 - 2 * share, -0.5 + 2 * share) for share in SHARES}
    return [row(*each) for each in _named({**ends, "ppd/blue": (-0.5, 1.5), **mixes})]


def _named(found: dict[str, tuple[float, float]]) -> list[tuple[str, float, float]]:
    return [(name, *both) for name, both in found.items()]


@pytest.fixture
def page(tmp_path: Path) -> dict[str, Any]:
    about = {
        "users": USERS,
        "prompts": 3,
        "seeds": 1,
        "steps": 7,
        "votes": 20,
        "machine": {"processor": "a processor", "gemm_gflops": 1.0},
    }
    write_page(tmp_path, rows(), about)
    assert (tmp_path / "reward-users.png").read_bytes().startswith(b"\x89PNG")
    assert "| red | pooled | 1.000" in (tmp_path / "reward-users.md").read_text()
    return json.loads((tmp_path / "reward-users.json").read_text())


def test_wins_are_by_the_scorers_own_scores(page: dict[str, Any]) -> None:
    assert set(page["wins"]["red"]) == {"base", "pooled", "ppd told of blue"}
    assert page["wins"]["red"]["pooled"]["rate"] == 1.0
    assert page["wins"]["red"]["pooled"]["difference"] == pytest.approx(1.0)
    assert page["means"]["ppd/blue"] == {"red": pytest.approx(0.5), "blue": pytest.approx(2.5)}


def test_the_way_between_two_profiles_is_measured_step_by_step(page: dict[str, Any]) -> None:
    (curve,) = page["mixes"]
    assert curve["shares"] == [0.0, *SHARES, 1.0]
    assert curve["first_means"] == pytest.approx([2.5, 2.0, 1.5, 1.0, 0.5])
    assert curve["first_smooth"]["only_rises"]
    assert curve["second_smooth"]["largest_step"] == pytest.approx(0.25)


def test_a_detour_is_not_called_smooth(tmp_path: Path) -> None:
    found = rows()
    (middle,) = (each for each in found if each["row"] == "mix/red/blue/0.5")
    middle["scores"]["blue"] = [[9.0], [9.0], [9.0]]
    about = {"users": USERS, "prompts": 3, "seeds": 1, "steps": 7, "votes": 20}
    write_page(tmp_path, found, {**about, "machine": {"processor": "p", "gemm_gflops": 1.0}})
    (curve,) = json.loads((tmp_path / "reward-users.json").read_text())["mixes"]
    assert curve["first_smooth"]["only_rises"]
    assert not curve["second_smooth"]["only_rises"]
