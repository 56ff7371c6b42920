"""Curves as geometry: inside the picture, right way up, round ticks."""

import pytest

from diffpref.evaluate.curves import (
    BOTTOM,
    HEIGHT,
    LEFT,
    MOST_POINTS,
    RIGHT,
    TOP,
    WIDTH,
    nice_ticks,
    panels,
    series,
)


def points(text: str) -> list[tuple[float, float]]:
    pairs = [pair.split(",") for pair in text.split()]
    return [(float(x), float(y)) for x, y in pairs]


def test_a_falling_loss_goes_down_from_left_to_right() -> None:
    (panel,) = panels([{"step": s, "loss": 1 / s} for s in range(1, 20)])
    path = points(panel.lines[0].points)
    assert path[0][0] == pytest.approx(LEFT)
    assert path[-1][0] == pytest.approx(WIDTH - RIGHT)
    ys = [y for _, y in path]
    assert ys == sorted(ys)
    assert min(ys) >= TOP
    assert max(ys) <= HEIGHT - BOTTOM
    assert panel.lines[0].last == "0.0526"


def test_values_that_are_no_numbers_are_skipped() -> None:
    rows: list[dict[str, object]] = [
        {"step": 1, "loss": 0.5},
        {"step": 2, "loss": None},
        {"step": 3, "loss": float("nan")},
        {"step": 4, "loss": True},
        {"loss": 0.1},
        {"step": 5, "loss": 0.4},
    ]
    assert series(rows, "loss") == [(1.0, 0.5), (5.0, 0.4)]
    assert panels([]) == []


def test_long_runs_are_thinned_by_averaging() -> None:
    rows: list[dict[str, object]] = [{"step": s, "loss": float(s % 2)} for s in range(5000)]
    thinned = series(rows, "loss")
    assert len(thinned) <= MOST_POINTS
    assert sum(y for _, y in thinned) / len(thinned) == pytest.approx(0.5, abs=0.05)


def test_a_constant_curve_and_a_single_point_have_a_panel() -> None:
    (flat,) = panels([{"step": s, "loss": 0.0} for s in range(3)])
    assert len(points(flat.lines[0].points)) == 3
    (single,) = panels([{"step": 7, "loss": 2.0}])
    ((x, y),) = points(single.lines[0].points)
    assert x == pytest.approx(LEFT)
    assert TOP < y < HEIGHT - BOTTOM


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 1.0, [0.0, 0.5, 1.0]),
        (1.0, 200.0, [50.0, 100.0, 150.0, 200.0]),
        (-1e-4, 1e-4, [-1e-4, -5e-5, 0.0, 5e-5, 1e-4]),
    ],
)
def test_ticks_are_round_and_within(low: float, high: float, expected: list[float]) -> None:
    assert nice_ticks(low, high) == pytest.approx(expected)
