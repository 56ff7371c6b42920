"""Where weights are looked for, in which order, and what is said when there are none."""

from pathlib import Path

import pytest

from diffpref.errors import UsageError
from diffpref.rewards import load_scorer
from diffpref.rewards.cards import SCORERS, Card
from diffpref.rewards.options import LoadOptions
from diffpref.rewards.resolve import ENVIRONMENT, MissingWeightsError, find

PICK = SCORERS["pickscore"]
LAION = SCORERS["laion-aesthetic-v2"]


def put(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"weights")
    return path


def located(card: Card, part: str, folder: Path | None, **told: object) -> Path:
    options = LoadOptions(weights_dir=folder, **told)  # pyright: ignore[reportArgumentType]
    return find(card, card.part(part), options)


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENVIRONMENT, raising=False)


def test_what_is_named_comes_before_every_folder(tmp_path: Path) -> None:
    put(tmp_path / "dir/pickscore/model.safetensors")
    named = put(tmp_path / "mine.bin")
    assert located(PICK, "model", tmp_path / "dir", weights=str(named)) == named
    with pytest.raises(UsageError, match="there is no file or folder nowhere"):
        located(PICK, "model", tmp_path, weights="nowhere")


def test_the_scorers_own_folder_comes_before_the_folder_itself(tmp_path: Path) -> None:
    flat = put(tmp_path / "model.safetensors")
    assert located(PICK, "model", tmp_path) == flat
    own = put(tmp_path / "pickscore/anything.pt")
    assert located(PICK, "model", tmp_path) == own
    # with a config beside them the weights are a folder
    put(tmp_path / "pickscore/model.safetensors")
    put(tmp_path / "pickscore/config.json")
    assert located(PICK, "model", tmp_path) == tmp_path / "pickscore"


def test_the_environment_is_searched_after_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path / "env"))
    there = put(tmp_path / "env/pickscore/model.safetensors")
    assert located(PICK, "model", tmp_path / "dir") == there
    here = put(tmp_path / "dir/pickscore/model.safetensors")
    assert located(PICK, "model", tmp_path / "dir") == here


def test_the_parts_of_one_scorer_are_told_apart(tmp_path: Path) -> None:
    head = put(tmp_path / "laion-aesthetic-v2/head/strange-name.pth")
    tower = put(tmp_path / "laion-aesthetic-v2/backbone/strange-name.bin")
    assert located(LAION, "head", tmp_path) == head
    assert located(LAION, "backbone", tmp_path) == tower
    mine = put(tmp_path / "mine.pth")
    assert located(LAION, "head", tmp_path, weights={"head": str(mine)}) == mine
    assert located(LAION, "backbone", tmp_path, weights=str(mine)) == tower
    with pytest.raises(UsageError, match="it has no part 'heda'") as caught:
        located(LAION, "head", tmp_path, weights={"heda": str(mine)})
    assert "did you mean 'head'" in str(caught.value)


def test_a_lone_file_of_another_part_is_not_taken(tmp_path: Path) -> None:
    put(tmp_path / "laion-aesthetic-v2/predictor.pth")
    with pytest.raises(MissingWeightsError):
        located(LAION, "backbone", tmp_path)


def test_the_hubs_cache_on_this_machine_is_used_without_a_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    commit = "0123456789abcdef0123456789abcdef01234567"
    base = tmp_path / "models--yuvalkirstain--PickScore_v1"
    put(base / "refs/main").write_text(commit)
    put(base / f"snapshots/{commit}/model.safetensors")
    assert located(PICK, "model", None) == base / f"snapshots/{commit}"


def test_missing_weights_say_where_to_get_them_and_how_to_check(tmp_path: Path) -> None:
    with pytest.raises(MissingWeightsError) as caught:
        load_scorer("hpsv2.1", weights_dir=tmp_path)
    said = str(caught.value)
    for word in (
        str(tmp_path / "hpsv2.1"),
        "HPS_v2.1_compressed.pt",
        "xswu/HPSv2",
        "2 GB",
        "Apache-2.0",
        "diffpref scorers check hpsv2.1 --weights-dir DIR",
    ):
        assert word in said
    assert caught.value.exit_code == 4


def test_nothing_is_downloaded_unless_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    def record(*_: object, local_files_only: bool, **__: object) -> str:
        from huggingface_hub.errors import LocalEntryNotFoundError

        asked.append(local_files_only)
        raise LocalEntryNotFoundError("not here")

    monkeypatch.setattr("huggingface_hub.snapshot_download", record)
    monkeypatch.setattr("huggingface_hub.is_offline_mode", lambda: False)
    for download in (False, True):
        with pytest.raises(MissingWeightsError):
            located(PICK, "model", None, allow_download=download)
    assert asked == [True, True, False, False]
    monkeypatch.setattr("huggingface_hub.is_offline_mode", lambda: True)
    with pytest.raises(MissingWeightsError):
        located(PICK, "model", None, allow_download=True)
    assert asked[4:] == [True, True]
