"""CSV tables of ratings and choices: whose pairs they become, and what is wrong with a line."""

import json
from pathlib import Path

import pytest
import torch

from diffpref.cli import main
from diffpref.data.readers import open_records
from diffpref.data.records import BadRow, Record, Row
from diffpref.errors import DataError
from diffpref.io import png_bytes

PICTURES = 24


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures images/p00.png ..., each brighter than the one before."""
    from PIL import Image

    (tmp_path / "images").mkdir()
    rng = torch.Generator().manual_seed(0)
    for number in range(PICTURES):
        pixels = (0.1 + 0.03 * number + 0.05 * torch.rand(24, 24, 3, generator=rng)).clamp(0, 1)
        picture = Image.fromarray((pixels * 255).byte().numpy())
        (tmp_path / "images" / f"p{number:02d}.png").write_bytes(png_bytes(picture, {}))
    return tmp_path


def rows_of(folder: Path) -> list[Row]:
    return list(open_records(str(folder)).rows())


def records(folder: Path) -> list[Record]:
    found = [row for row in rows_of(folder) if isinstance(row, Record)]
    assert found
    return found


def write(folder: Path, *lines: str) -> Path:
    (folder / "table.csv").write_text("\n".join(lines) + "\n")
    return folder


def ratings(folder: Path, people: tuple[str, ...] = ("ann", "bob")) -> Path:
    """Raters who like bright pictures and dark ones in turn."""
    lines = ["participant_id,image_name,rating,group"]
    for number in range(PICTURES):
        group = "food" if number % 2 else "animal"
        for place, name in enumerate(people):
            lines.append(f"{name},p{number:02d},{(-1) ** place * number},{group}")
    return write(folder, *lines)


def test_ratings_become_each_persons_pairs_within_a_group(folder: Path) -> None:
    rows = records(ratings(folder))
    assert open_records(str(folder)).format == "ratings"
    assert len(rows) == 2 * 2 * (PICTURES // 2 - 1)
    for row in rows:
        numbers = [int(Path(image.key).stem[1:]) for image in row.images]
        assert numbers[0] % 2 == numbers[1] % 2 == (row.prompt == "food")
        brighter = numbers[0] > numbers[1]
        assert row.scores == ((1, 0) if brighter == (row.user == "ann") else (0, 1))
    assert len({frozenset(i.key for i in row.images) for row in rows if row.user == "ann"}) == 22
    assert rows_of(folder) == rows_of(folder)


def test_a_prompt_that_pictures_share_comes_before_the_group(folder: Path) -> None:
    write(
        folder, "user,image,score,prompt,group", "a,p00,1,cat,x", "a,p01,2,cat,y", "a,p02,2,dog,x"
    )
    (row,) = records(folder)
    assert (row.prompt, row.user) == ("cat", "a")
    alone = ["a,p00,1,cat,x", "a,p01,2,hen,y", "a,p02,2,dog,x"]
    (row,) = records(write(folder, "user,image,score,prompt,group", *alone))
    assert row.prompt == "x"


def test_equal_ratings_are_a_tie(folder: Path) -> None:
    write(folder, "user,image,rating", "a,p00,3", "a,p01,3")
    assert records(folder)[0].scores == (0.5, 0.5)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (",p00,3", "'user' is empty"),
        ("a,p00,much", "'much' is no finite number"),
        ("a,p00,inf", "no finite number"),
        ("a,,3", "'image' is empty"),
    ],
)
def test_a_bad_rating_is_named_by_file_and_line(line: str, said: str, folder: Path) -> None:
    write(folder, "user,image,rating", "a,p00,3", line, "a,p01,1")
    bad = [row for row in rows_of(folder) if isinstance(row, BadRow)]
    assert len(bad) == 1
    assert str(bad[0]).startswith("table.csv:3:")
    assert said in bad[0].reason
    assert len(records(folder)) == 1


@pytest.mark.parametrize(
    ("header", "line", "scores"),
    [
        ("designer_id,image_a,image_b,preference,prompt", "d1,p00,p01,a,form", (1, 0)),
        ("designer_id,image_a,image_b,preference,prompt", "d1,p00,p01,Tie,form", (0.5, 0.5)),
        ("annotator,left,right,winner,description", "d1,p00,p01,right,form", (0, 1)),
        ("user_id,image_0_uid,image_1_uid,label_0,caption", "d1,p00,p01,0.5,form", (0.5, 0.5)),
        ("user_id,image_1,image_2,choice,prompt", "d1,p00,p01,b,form", (0, 1)),
    ],
)
def test_choices_are_read_under_the_names_tables_have(
    header: str, line: str, scores: tuple[float, float], folder: Path
) -> None:
    (row,) = records(write(folder, header, line))
    assert open_records(str(folder)).format == "choices"
    assert [Path(image.key).name for image in row.images] == ["p00.png", "p01.png"]
    assert (row.scores, row.user, row.prompt) == (scores, "d1", "form")


def test_how_strong_a_choice_is_becomes_its_weight(folder: Path) -> None:
    header = "user,image_a,image_b,preference,strength,prompt"
    (row,) = records(write(folder, header, "u,p00,p01,a,2,form"))
    assert row.weight == 2


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("u,p00,p01,1,form", "a, b or tie"),
        ("u,p00,p99,a,form", "no such file"),
        ("u,p00,../x,a,form", "images"),
        ("u,p00,p00,a,form", "twice"),
        ("u,p00,p01,a,", "'prompt' is empty"),
    ],
)
def test_a_bad_choice_is_named_by_file_and_line(line: str, said: str, folder: Path) -> None:
    write(folder, "user,image_a,image_b,preference,prompt", "u,p00,p01,a,form", line)
    _, bad = rows_of(folder)
    assert isinstance(bad, BadRow)
    assert str(bad).startswith("table.csv:3:")
    assert said in str(bad)


def test_a_torn_table_is_an_error_of_its_line(folder: Path) -> None:
    write(folder, "user,image,rating", "a,p00,3", "a,p01")
    with pytest.raises(DataError) as refused:
        list(open_records(str(folder), format="ratings").rows())
    assert "table.csv:3" in str(refused.value)


def test_a_profile_is_made_of_them(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ratings(folder)
    profile, cache = tmp_path / "ann.profile", ["--cache", str(tmp_path / "cache")]
    fit = ["profile", "fit", str(folder), "--user", "ann", "-o", str(profile), *cache, "--json"]
    assert main(fit) == 0
    assert json.loads(capsys.readouterr().out)["pairs"] == 22


@pytest.mark.slow
def test_a_reward_of_many_people_is_learned_from_them(folder: Path, tmp_path: Path) -> None:
    ratings(folder, ("ann", "bob", "cy", "dee", "eve", "fay", "gus", "hal"))
    cache = ["--cache", str(tmp_path / "cache")]
    asked = ["train-reward", str(folder), "--head", "pal-b", "--embedder", "world-reward", *cache]
    assert main([*asked, "--out", str(tmp_path / "head"), "--json"]) == 0
