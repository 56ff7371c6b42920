"""An upload shows every file, asks, sends what was shown and nothing else; a fake hub receives."""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import errors as hub_errors

from diffpref.cli import main
from diffpref.cli.export_push import push_folder, require_pushable
from diffpref.errors import HubError, UsageError
from diffpref.export import push
from diffpref.export.push import Plan, plan, upload


@dataclass
class FakeHub:
    """The four calls of huggingface_hub.HfApi an upload makes, recorded."""

    there: dict[str, bool] = field(default_factory=dict)
    calls: list[tuple[str, object]] = field(default_factory=list)
    sent: dict[str, bytes] = field(default_factory=dict)
    refuses: Exception | None = None

    def repo_exists(self, repo_id: str) -> bool:
        if self.refuses is not None:
            raise self.refuses
        return repo_id in self.there

    def repo_info(self, repo_id: str) -> SimpleNamespace:
        return SimpleNamespace(private=self.there[repo_id])

    def create_repo(self, repo_id: str, *, private: bool) -> None:
        self.calls.append(("create", (repo_id, private)))

    def upload_folder(self, *, repo_id: str, folder_path: str, commit_message: str) -> str:
        self.calls.append(("upload", (repo_id, commit_message)))
        root = Path(folder_path)
        self.sent = {
            path.relative_to(root).as_posix(): path.read_bytes()
            for path in root.rglob("*")
            if path.is_file()
        }
        return f"https://hub/{repo_id}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "out" / "unet").mkdir(parents=True)
    (tmp_path / "out" / "README.md").write_text("# my\n")
    (tmp_path / "out" / "unet" / "adapter_model.safetensors").write_bytes(b"x" * 1234)
    return tmp_path / "out"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    fake = FakeHub()
    monkeypatch.setattr(push, "_hub", lambda: fake)
    return fake


def answering(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    import io

    terminal = io.StringIO(text)
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stdin", terminal)


def test_the_plan_is_shown_and_only_a_yes_sends_it(
    folder: Path,
    hub: FakeHub,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    answering(monkeypatch, "y\n")
    push_folder(folder, "me/my-lora", private=True, yes=False)
    told = capsys.readouterr().err
    for line in (
        "README.md",
        "unet/adapter_model.safetensors          1,234 bytes",
        "1,239 bytes",
        "to: me/my-lora, a new repository, private",
        "uploaded: https://hub/me/my-lora",
    ):
        assert line in told
    assert hub.calls[0] == ("create", ("me/my-lora", True))
    assert set(hub.sent) == {"README.md", "unet/adapter_model.safetensors"}


@pytest.mark.parametrize("said", ["n\n", "\n", "no\n"])
def test_anything_but_a_yes_sends_nothing(
    folder: Path, hub: FakeHub, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    answering(monkeypatch, said)
    with pytest.raises(UsageError, match="not agreed to") as caught:
        push_folder(folder, "me/my-lora", private=True, yes=False)
    assert "nothing was uploaded" in str(caught.value)
    assert hub.calls == []


def test_where_nobody_can_be_asked_only_yes_on_the_command_line_sends(
    folder: Path, hub: FakeHub
) -> None:
    with pytest.raises(UsageError, match="nobody is there to ask"):
        push_folder(folder, "me/my-lora", private=True, yes=False)
    assert hub.calls == []
    push_folder(folder, "me/my-lora", private=False, yes=True)
    assert hub.calls[0] == ("create", ("me/my-lora", False))


def test_a_repository_that_exists_keeps_its_visibility_which_is_told(
    folder: Path, hub: FakeHub, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.there["me/old"] = False
    push_folder(folder, "me/old", private=True, yes=True)
    assert "which exists, PUBLIC: everybody can see" in capsys.readouterr().err
    assert [name for name, _ in hub.calls] == ["upload"]


def test_what_changed_after_it_was_shown_is_not_sent(folder: Path, hub: FakeHub) -> None:
    asked = plan(folder, "me/x", private=True)
    (folder / "secret.txt").write_text("mine")
    with pytest.raises(UsageError, match="has changed since it was shown"):
        upload(asked)
    assert isinstance(asked, Plan)
    assert hub.calls == []


def test_a_refusal_of_the_hub_is_told_with_what_to_do(folder: Path, hub: FakeHub) -> None:
    hub.refuses = OSError("401 Unauthorized\nand a long page")
    with pytest.raises(HubError, match="the hub refused: 401 Unauthorized") as caught:
        plan(folder, "me/x", private=True)
    assert "hf auth login" in str(caught.value)
    assert issubclass(hub_errors.HfHubHTTPError, hub_errors.HTTPError | OSError)


def test_a_file_alone_and_a_profile_are_refused_before_anything_is_written(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(push.huggingface_hub, "is_offline_mode", lambda: False)
    require_pushable("me/x", alone=False, profile=None, include=False)
    with pytest.raises(UsageError, match="a file alone has no card"):
        require_pushable("me/x", alone=True, profile=None, include=False)
    with pytest.raises(UsageError, match="a person's taste, and would leave this machine"):
        require_pushable("me/x", alone=False, profile=Path("me.safetensors"), include=False)
    require_pushable("me/x", alone=False, profile=Path("me.safetensors"), include=True)
    assert hub.calls == []


def test_offline_it_refuses_before_a_model_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(push.huggingface_hub, "is_offline_mode", lambda: True)
    assert main(["export", "no/run", str(tmp_path / "out"), "--push", "me/x"]) == 9
    told = capsys.readouterr().err
    assert "HF_HUB_OFFLINE is set" in told
    assert "HF_HUB_OFFLINE=0 diffpref export" in told
    assert not (tmp_path / "out").exists()
