"""What an upload would take from this machine to the hub, and the upload itself."""

import re
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import huggingface_hub
from huggingface_hub import errors as hub_errors

from diffpref.errors import HubError, UsageError, why
from diffpref.export.folder import sizes

REPO = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}")


@runtime_checkable
class Hub(Protocol):
    """The part of `huggingface_hub.HfApi` an upload needs."""

    def repo_exists(self, repo_id: str) -> bool: ...

    def repo_info(self, repo_id: str) -> "Info": ...

    def create_repo(self, repo_id: str, *, private: bool) -> object: ...

    def upload_folder(self, *, repo_id: str, folder_path: str, commit_message: str) -> object: ...


@runtime_checkable
class Info(Protocol):
    """What the hub says of a repository."""

    private: bool | None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What would be uploaded: every file with its size. `exists`: the repository is there."""

    folder: Path
    repo: str
    files: dict[str, int]
    exists: bool
    private: bool

    @property
    def visibility(self) -> str:
        seen = "private: only you and your organisation see it"
        seen = seen if self.private else "PUBLIC: everybody can see and copy it"
        return f"which exists, {seen}" if self.exists else f"a new repository, {seen}"


def require_repo(repo: str) -> None:
    """Refuse what is no repository's name.

    Raises:
        UsageError: it is none.
    """
    if not REPO.fullmatch(repo):
        hint = "write it as OWNER/NAME, your name on the hub first"
        raise UsageError("is no repository", where=f"--push {repo}", hint=hint)


def require_online(repo: str) -> None:
    """Refuse to upload while the hub is switched off.

    Raises:
        HubError: HF_HUB_OFFLINE is set.
    """
    if huggingface_hub.is_offline_mode():
        raise HubError(
            "HF_HUB_OFFLINE is set, and an upload needs the hub",
            where=f"--push {repo}",
            hint="leave --push out and upload later, or: HF_HUB_OFFLINE=0 diffpref export ...",
        )


def plan(folder: Path, repo: str, *, private: bool, hub: Hub | None = None) -> Plan:
    """Return what an upload of a folder would do; nothing is sent.

    Args:
        folder: of an export; every file in it goes.
        repo: OWNER/NAME.
        private: of a repository that does not exist yet; one that does keeps its own.
        hub: the hub.

    Returns:
        The plan.

    Raises:
        HubError: out of reach, or nobody is logged in.
    """
    hub = hub or _hub()
    with _telling(repo):
        exists = hub.repo_exists(repo)
        seen = bool(hub.repo_info(repo).private) if exists else private
    return Plan(folder=folder, repo=repo, files=sizes(folder), exists=exists, private=seen)


def upload(asked: Plan, *, hub: Hub | None = None) -> str:
    """Do what a plan says, and return the address.

    Raises:
        UsageError: the folder has changed since the plan was shown.
        HubError: the hub refuses.
    """
    if sizes(asked.folder) != asked.files:
        hint = "look at the files and push again"
        raise UsageError("has changed since it was shown", where=str(asked.folder), hint=hint)
    hub = hub or _hub()
    with _telling(asked.repo):
        if not asked.exists:
            hub.create_repo(asked.repo, private=asked.private)
        made = hub.upload_folder(
            repo_id=asked.repo,
            folder_path=str(asked.folder),
            commit_message="Export of diffpref",
        )
    return str(made)


def _hub() -> Hub:
    return huggingface_hub.HfApi()


@contextmanager
def _telling(repo: str) -> Generator[None]:
    """Turn the hub's refusals into ours."""
    try:
        yield
    except (hub_errors.HTTPError, OSError) as error:
        raise HubError(
            f"the hub refused: {why(error).strip().partition(chr(10))[0]}",
            where=f"--push {repo}",
            hint="log in with a token that may write (hf auth login), then push again",
        ) from error
