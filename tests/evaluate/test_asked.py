"""Where an image's prompt comes from."""

import json
import re
from pathlib import Path

import pytest
from PIL import Image

from diffpref.errors import DataError, UsageError
from diffpref.evaluate.asked import asked_of, image_files
from diffpref.io import png_bytes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, prompt in (("a_red_disc-3.png", "a red disc"), ("two_cats (2).png", "two cats")):
        text = {"prompt": prompt, "seed": "3"}
        (tmp_path / name).write_bytes(png_bytes(Image.new("RGB", (2, 2)), text))
    return tmp_path


def test_a_folder_is_its_images_by_name(folder: Path) -> None:
    (folder / "notes.txt").touch()
    (folder / "B.JPG").touch()
    named = folder.parent / f"{folder.name}.bin"
    named.touch()
    names = [path.name for path in image_files([folder, named])]
    assert names == ["B.JPG", "a_red_disc-3.png", "two_cats (2).png", named.name]
    (folder / "empty").mkdir()
    with pytest.raises(DataError, match="holds no images"):
        image_files([folder / "empty"])
    with pytest.raises(DataError, match="no such file or folder"):
        image_files([folder / "gone.png"])


def test_prompts_of_pngs_and_of_names_agree_here(folder: Path) -> None:
    files = image_files([folder])
    for source in (None, "png-metadata", "filename"):
        assert asked_of(files, source=source) == ["a red disc", "two cats"]
    assert asked_of(files, prompt="x") == ["x", "x"]
    for name in ("0012-3.png", "__.png"):
        with pytest.raises(DataError, match="holds no words"):
            asked_of([Path(name)], source="filename")


def write_csv(folder: Path, name: str, *rows: str) -> str:
    (folder / name).write_text("file_name,seed,caption\n" + "\n".join(rows) + "\n")
    return str(folder / name)


def test_a_table_is_read_wherever_it_is(folder: Path) -> None:
    files = image_files([folder])
    rows = ("a_red_disc-3.png,1,a disc", '"two_cats (2).png",2,"cats, two"')
    named = write_csv(folder, "metadata.csv", *rows)
    expected = ["a disc", "cats, two"]
    assert asked_of(files, source=named) == expected
    assert asked_of(files, source="csv") == expected
    pairs = zip(files, expected, strict=True)
    lines = [{"image": f"sub/{file.name}", "prompt": text} for file, text in pairs]
    (folder.parent / "lines.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert asked_of(files, source=str(folder.parent / "lines.jsonl")) == expected
    own = {"prompt": "both", "images": [file.name for file in files], "scores": [1, 0]}
    (folder / "captions.jsonl").write_text(json.dumps(own) + "\n")
    assert asked_of(files, source="jsonl") == ["both", "both"]


def test_two_images_of_one_name_are_told_apart_by_their_folder(folder: Path) -> None:
    for name in ("x", "y"):
        (folder / name).mkdir()
        (folder / name / "0.png").touch()
    named = write_csv(folder, "t.csv", "x/0.png,1,a disc", "y/0.png,1,a cat")
    assert asked_of([folder / "y/0.png", folder / "x/0.png"], source=named) == ["a cat", "a disc"]
    with pytest.raises(DataError, match=r"several prompts for an image called 0\.png"):
        asked_of([Path("elsewhere/0.png")], source=named)


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ("filenam", UsageError, "did you mean 'filename'"),
        ("csv", DataError, r"there is no \.csv with prompts beside the images"),
        ("no_such.csv", DataError, "cannot be read"),
        ("none.csv", DataError, "no prompt for an image called"),
        ("twice.csv", DataError, r"twice\.csv:3: gives x\.png two prompts"),
        ("wordless.csv", DataError, r"wordless\.csv:2: has no prompt or caption or text"),
        ("ragged.csv", DataError, r"ragged\.csv:2: 1 cells under 3 columns"),
        ("imageless.jsonl", DataError, r"imageless\.jsonl:1: has no file or file_name"),
        ("broken.jsonl", DataError, r"broken\.jsonl:1: Expecting"),
    ],
)
def test_what_is_wrong_is_named(
    folder: Path, source: str, error: type[Exception], message: str
) -> None:
    write_csv(folder, "none.csv", "x.png,1,a")
    write_csv(folder, "twice.csv", "x.png,1,a", "x.png,1,b")
    write_csv(folder, "wordless.csv", "x.png,1,")
    write_csv(folder, "ragged.csv", "x.png")
    (folder / "imageless.jsonl").write_text('{"prompt": "a"}\n')
    (folder / "broken.jsonl").write_text("{\n")
    place = source if "." not in source else str(folder / source)
    with pytest.raises(error) as caught:
        asked_of(image_files([folder]), source=place)
    assert re.search(message, str(caught.value)), str(caught.value)


def test_a_prompt_and_a_source_are_too_much(folder: Path) -> None:
    with pytest.raises(UsageError, match="not both"):
        asked_of(image_files([folder]), prompt="a", source="filename")
    plain = folder / "plain.png"
    plain.write_bytes(png_bytes(Image.new("RGB", (2, 2)), {}))
    (folder / "no.png").write_bytes(b"no")
    for file, message in ((plain, "names no prompt"), (folder / "no.png", "no prompt can be read")):
        with pytest.raises(DataError, match=message):
            asked_of([file])
