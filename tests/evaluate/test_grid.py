"""The grid picture: everyone in their place."""

import torch

from diffpref.evaluate.grid import CELL, grid, plain


def test_cells_hold_their_models_picture_enlarged_by_a_whole_factor() -> None:
    images = torch.zeros(2, 3, 2, 3, 32, 32, dtype=torch.uint8)
    for m in range(2):
        for p in range(3):
            for s in range(2):
                images[m, p, s] = 40 + 100 * m + 20 * p + 10 * s
    sheet = grid(images, names=("base", "aligned"), prompts=["a", "b", "c"], seeds=(0, 1))
    found = sorted(
        (color[0], count)
        for count, color in sheet.getcolors(10**6) or []
        if color[0] == color[1] == color[2] and count >= CELL * CELL
    )
    levels = sorted(
        40 + 100 * m + 20 * p + 10 * s for m in range(2) for p in range(3) for s in range(2)
    )
    assert [level for level, _ in found if level in levels] == levels
    assert all(count % (CELL * CELL) == 0 for level, count in found if level in levels)
    columns = [sheet.getpixel((x, 80))[0] for x in (60, 60 + CELL + 8)]
    assert columns == [40, 140]


def test_large_pictures_keep_their_size() -> None:
    images = torch.zeros(1, 1, 1, 3, 200, 300, dtype=torch.uint8)
    sheet = grid(images, names=("x",), prompts=["long " * 100], seeds=(0,))
    assert 300 < sheet.width < 360
    assert 200 < sheet.height < 300


def test_texts_that_do_not_print_are_made_visible() -> None:
    assert plain("a\x00b\u202ec\nd\u2028e") == "a\ufffdb\ufffdc\ufffdd\ufffde"
    assert plain("两个红色 é") == "两个红色 é"
