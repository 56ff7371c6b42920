"""Where models are found, and what is said when they are not."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
from huggingface_hub import errors as hub_errors

from diffpref.errors import ConfigError, DiffprefError, HubError, UnsafeFileError
from diffpref.models import load_bundle
from diffpref.models.hub import fetch, locate

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cache(tmp_path: Path, tiny: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub cache that holds acme/tiny at one commit."""
    repo = tmp_path / "models--acme--tiny"
    shutil.copytree(tiny["sd15"], repo / "snapshots" / COMMIT)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(COMMIT)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    return tmp_path


@pytest.mark.usefixtures("cache")
def test_a_cached_hub_model_loads_offline_and_its_commit_is_recorded(
    tiny: dict[str, Path],
) -> None:
    bundle = load_bundle("acme/tiny")
    assert bundle.revision == COMMIT
    assert bundle.source == "acme/tiny"
    assert bundle.fingerprint == load_bundle(str(tiny["sd15"])).fingerprint


@pytest.mark.usefixtures("cache")
def test_what_is_not_cached_is_named_with_what_to_do_when_offline() -> None:
    for repo, revision in (("acme/other", None), ("acme/tiny", "v2")):
        with pytest.raises(HubError) as caught:
            load_bundle(repo, revision=revision)
        told = str(caught.value)
        assert caught.value.where == "model.base"
        assert caught.value.exit_code == 9
        assert "HF_HUB_OFFLINE is set" in told
        assert f"hf download {repo}" in told


def test_offline_means_that_the_hub_is_never_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def snapshot_download(_repo: str, **options: object) -> str:
        asked.append(options["local_files_only"])
        raise hub_errors.LocalEntryNotFoundError("not here")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    with pytest.raises(HubError, match="HF_HUB_OFFLINE"):
        fetch("acme/tiny", where="model.base")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with pytest.raises(HubError, match="out of reach"):
        fetch("acme/tiny", where="model.base")
    assert asked == [True, False]


def test_a_branch_is_resolved_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A branch that moves between two requests must not mix two commits."""
    asked = []

    def snapshot_download(_repo: str, *, revision: str | None, **_: object) -> str:
        asked.append(revision)
        folder = tmp_path / (revision if revision == COMMIT else COMMIT)
        folder.mkdir(exist_ok=True)
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    assert fetch("acme/halves", where="model.base", revision="main").revision == COMMIT
    assert asked == ["main", COMMIT]


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (hub_errors.RepositoryNotFoundError, "did you mean 'stabilityai/"),
        (hub_errors.GatedRepoError, "hf auth login"),
        (hub_errors.RevisionNotFoundError, "no revision 'v9'"),
        (hub_errors.HfHubHTTPError, "try again"),
    ],
)
def test_what_the_hub_answers_becomes_one_line_and_an_action(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception], word: str
) -> None:
    answer = SimpleNamespace(headers={}, request=None, status_code=404)

    def snapshot_download(_repo: str, **_: object) -> str:
        raise error("no", response=answer)  # type: ignore[call-arg]

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    with pytest.raises(HubError) as caught:
        load_bundle("stabilityai/stable-diffusion-xl-bas", revision="v9")
    assert word in str(caught.value)


def test_a_connection_lost_half_way_is_a_hub_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def snapshot_download(_repo: str, **_: object) -> str:
        raise hub_errors.HTTPError("connection reset")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    with pytest.raises(HubError, match="connection reset"):
        fetch("acme/tiny", where="model.base")


def test_a_misspelt_path_is_answered_with_the_nearest_entry(tiny: dict[str, Path]) -> None:
    with pytest.raises(ConfigError, match=r"did you mean '.*/sdxl'") as caught:
        locate(str(tiny["sdxl"].parent / "sdxk"), where="model.base")
    assert caught.value.where == "model.base"


@pytest.mark.parametrize("source", ["./nothing", "nothing", "a/b/c", "model.safetensors"])
def test_what_cannot_be_a_hub_id_is_not_looked_for_there(
    monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    monkeypatch.setattr(huggingface_hub, "snapshot_download", pytest.fail)
    with pytest.raises(ConfigError, match="no file or folder"):
        locate(source, where="model.base")


@pytest.mark.parametrize("name", ["model.ckpt", "model.bin", "model.pt", "model.PTH", "model.pkl"])
def test_pickles_are_refused_unopened_and_the_safe_twin_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"cos\nsystem\n(S'touch canary'\ntR.")
    with pytest.raises(UnsafeFileError) as caught:
        load_bundle(str(tmp_path / name))
    assert caught.value.where == "model.base"
    assert "safetensors" in str(caught.value)
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(UnsafeFileError, match=r"model\.safetensors"):
        load_bundle(str(tmp_path / name))


@pytest.mark.parametrize(
    ("part", "old"),
    [
        ("unet", "diffusion_pytorch_model.bin"),
        ("vae", "diffusion_pytorch_model.bin"),
        ("text_encoder", "pytorch_model.bin"),
    ],
)
def test_folders_with_pickled_weights_are_refused(
    tiny: dict[str, Path], tmp_path: Path, part: str, old: str
) -> None:
    folder = shutil.copytree(tiny["sd15"], tmp_path / "base")
    (weights,) = (folder / part).glob("*.safetensors")
    weights.rename(weights.with_name(old))
    with pytest.raises(UnsafeFileError, match="pickle") as caught:
        load_bundle(str(folder))
    assert old in str(caught.value)
    (folder / part / old).unlink()
    with pytest.raises(ConfigError, match=f"base/{part} holds no safetensors"):
        load_bundle(str(folder))


def test_every_error_says_what_to_do(tiny: dict[str, Path], tmp_path: Path) -> None:
    for source in ("./nothing", "a/b", str(tmp_path), str(tiny["sd15"] / "unet")):
        with pytest.raises(DiffprefError) as caught:
            load_bundle(source)
        assert caught.value.hint
        assert caught.value.where
