"""The leaderboard's search: what it runs, and what it takes."""

from pathlib import Path
from typing import Any

import pytest

from scripts.board.rows import ROWS
from scripts.leaderboard import Board

LOW, HIGH = 1e-3, 3e-3


class Runs:
    """Stands in for trained runs: whether a rate's seeds win, and what was asked for."""

    def __init__(self, better: dict[float, list[bool]]) -> None:
        self.better = better
        self.asked: list[tuple[float, int, str, int]] = []

    def __call__(self, name: str, *, lr: float, seed: int, split: str, draws: int) -> Any:
        assert name in ROWS
        self.asked.append((lr, seed, split, draws))
        return {"oracle": [1.0 if self.better[lr][seed] else -1.0] * 4}


def searched(monkeypatch: pytest.MonkeyPatch, folder: Path, name: str, runs: Runs) -> float:
    board = Board("short", folder / "work", folder / "out")
    monkeypatch.setattr(board, "run", runs)
    monkeypatch.setattr(board, "base", lambda _: {"oracle": [0.0] * 4})
    return board.best_rate(name)


def test_a_thorough_search_runs_every_seed_at_full_length_on_validation_prompts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    runs = Runs({LOW: [False, True, True], HIGH: [True, False, False]})
    assert searched(monkeypatch, tmp_path, "beta_dpo_full_search", runs) == LOW
    assert runs.asked == [
        (lr, seed, "validation", 1500) for lr in (LOW, HIGH) for seed in (0, 1, 2)
    ]


def test_the_forms_own_search_makes_one_short_run_a_rate(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    runs = Runs({LOW: [False, True, True], HIGH: [True, False, False]})
    assert searched(monkeypatch, tmp_path, "beta_dpo", runs) == HIGH
    assert runs.asked == [(LOW, 0, "validation", 500), (HIGH, 0, "validation", 500)]


def test_a_full_search_row_differs_from_its_method_in_the_search_alone() -> None:
    for name, row in ROWS.items():
        if name.endswith("_full_search"):
            plain = ROWS[name.removesuffix("_full_search")]
            assert row.thorough
            assert (row.preset, row.data, row.overrides) == (
                plain.preset,
                plain.data,
                plain.overrides,
            )
            assert row.group == "full search"


def test_four_times_the_pairs_take_the_rate_of_the_thorough_search(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    runs = Runs({LOW: [False, True, True], HIGH: [True, False, False]})
    assert searched(monkeypatch, tmp_path, "ncp_dpo_four_times", runs) == LOW
    assert {draws for *_, draws in runs.asked} == {1500}
    board = Board("short", tmp_path / "work", tmp_path / "out")
    assert board.draws(ROWS["ncp_dpo_four_times"]) == 6000
