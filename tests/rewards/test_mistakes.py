"""Every mistake about a scorer or an image is told with what to do."""

import subprocess
import sys
from pathlib import Path

import pytest

from diffpref.cli import main
from diffpref.errors import DataError, UsageError
from diffpref.evaluate.asked import image_files
from diffpref.rewards import load_scorer
from diffpref.rewards.golden import of_files, read_golden
from diffpref.rewards.inputs import one_picture
from diffpref.rewards.noisy.files import load_noisy
from diffpref.rewards.text.load import load_text_scorer


def test_a_text_scorer_asked_for_images_is_said_to_score_text() -> None:
    with pytest.raises(UsageError, match="scores text, not images") as told:
        load_scorer("gpm")
    assert "--text-scorer gpm" in str(told.value.hint)


def test_an_image_scorer_asked_for_text_is_said_to_score_images() -> None:
    with pytest.raises(UsageError, match="scores images, not text") as told:
        load_text_scorer("pickscore")
    assert "--scorer pickscore" in str(told.value.hint)


UNTYPED = """
from diffpref.errors import DiffprefError
from diffpref.rewards import load_scorer
scorer = load_scorer("world-oracle")
for call in (lambda: scorer.score([3], "a"), lambda: scorer.reward("x.png", ("a",))):
    try:
        call()
    except DiffprefError as error:
        import sys
        sys.stdout.write(str(error) + "\\n")
"""


def test_values_that_are_no_pictures_are_refused_where_types_are_not_checked() -> None:
    done = subprocess.run(
        [sys.executable, "-c", UNTYPED], capture_output=True, text=True, check=False
    )
    assert "images[0]: a int is no image" in done.stdout, done.stderr
    assert "pixels: reward takes a tensor" in done.stdout, done.stderr


def test_a_file_that_is_not_there_is_not_to_be_converted(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    cases = {"no.png": "check the path", "empty.png": "make the file again", ".": "name a file"}
    for name, hint in cases.items():
        with pytest.raises(DataError) as told:
            one_picture(tmp_path / name, 0)
        assert hint in str(told.value.hint)


def test_a_missing_head_is_told_without_the_systems_number(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file") as told:
        load_scorer(f"head:{tmp_path}/none")
    assert "Errno" not in str(told.value)
    with pytest.raises(DataError, match="No such file") as told:
        load_noisy(tmp_path / "none")
    assert "Errno" not in str(told.value)


def test_a_missing_golden_and_a_missing_picture_of_one_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file") as told:
        read_golden(tmp_path / "g.json")
    assert "Errno" not in str(told.value)
    with pytest.raises(DataError, match="No such file"):
        of_files([tmp_path / "no.png"], ["a"])


def test_a_missing_path_is_told_before_anything_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file or folder"):
        image_files([tmp_path / "none"])


def test_capture_of_a_missing_picture_is_the_users_mistake(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "g.json")
    line = ["scorers", "capture", "jpeg-size", str(tmp_path / "no.png"), "--prompt", "a"]
    assert main([*line, "--out", out]) == DataError.exit_code
    assert "internal error" not in capsys.readouterr().err
