"""Finds the files of a model: bundled, a local path, or the hub, resolved to a commit once."""

import re
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

import huggingface_hub
from huggingface_hub import errors as hub_errors

from diffpref.assets import is_builtin, resolve
from diffpref.errors import ConfigError, HubError, UnsafeFileError, nearest
from diffpref.models.family import FAMILIES

PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl", ".pickle")
REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
CONFIGS = ("*.json", "*/*.json", "tokenizer*/*")
WEIGHTS = (
    "*/diffusion_pytorch_model{}.safetensors",
    "*/model{}.safetensors",
    "*/*model{}-?????-of-?????.safetensors",
)
OUTER_WEIGHTS = ("diffusion_pytorch_model.safetensors", "pytorch_lora_weights.safetensors")
"""Names at the top of repositories that hold only an autoencoder or a LoRA."""


class Found(NamedTuple):
    """Where a model's files are. `revision` is the commit if they came from the hub."""

    path: Path
    revision: str | None


def locate(source: str, *, where: str, revision: str | None = None, weights: bool = True) -> Found:
    """Return the file or folder behind `builtin:name`, a local path or a hub id.

    Args:
        source: what the user wrote.
        where: the config field it came from, for messages.
        revision: branch, tag or commit of a hub id.
        weights: False fetches a hub id's configs and tokenizers only.

    Raises:
        ConfigError: no such file or folder, and not a hub id.
        UnsafeFileError: a pickle.
        HubError: the hub does not have it, or is out of reach.
    """
    path = Path(resolve(source)).expanduser()
    if path.suffix.lower() in PICKLES:
        refuse_pickle(path, where)
    if path.exists():
        return Found(path, None)
    looks_local = is_builtin(source) or source.startswith((".", "/", "~"))
    if looks_local or path.suffix == ".safetensors" or not REPO_ID.fullmatch(source):
        beside = [entry.name for entry in path.parent.glob("*")] if path.parent.is_dir() else []
        close = get_close_matches(path.name, beside, n=1, cutoff=0.6)
        meant = f"did you mean '{path.parent / close[0]}'? " if close else ""
        raise ConfigError(
            f"there is no file or folder {source}",
            where=where,
            hint=f"{meant}Give a folder in diffusers layout, a .safetensors file, or a hub id: "
            "owner/name",
        )
    return fetch(source, where=where, revision=revision, weights=weights)


def fetch(repo: str, *, where: str, revision: str | None = None, weights: bool = True) -> Found:
    """Return the local snapshot of a hub id; with HF_HUB_OFFLINE set, only from the cache.

    Raises:
        HubError: not on the hub, out of reach, or not cached and offline.
    """
    wanted = [*CONFIGS, *OUTER_WEIGHTS, *(name.format("") for name in WEIGHTS)]
    found = _snapshot(repo, where, revision, wanted if weights else CONFIGS)
    half = [name.format(".fp16") for name in WEIGHTS]
    if weights and not any(found.path.rglob("*.safetensors")):
        found = _snapshot(repo, where, found.revision, [*CONFIGS, *half])
    return found


def refuse_pickle(path: Path, where: str) -> None:
    """Refuse a file that can run code when it is opened.

    Raises:
        UnsafeFileError: always.
    """
    safe = path.with_suffix(".safetensors")
    hint = "choose weights in safetensors; most models on the hub have them"
    if safe.is_file():
        hint = f"use {safe.name}, which lies beside it"
    raise UnsafeFileError(f"{path.name} is a pickle and may run code", where=where, hint=hint)


def _snapshot(repo: str, where: str, revision: str | None, patterns: Sequence[str]) -> Found:
    offline = huggingface_hub.is_offline_mode()
    at = f" at {revision}" if revision else ""
    try:
        path = huggingface_hub.snapshot_download(
            repo, revision=revision, allow_patterns=list(patterns), local_files_only=offline
        )
    except hub_errors.GatedRepoError as error:
        raise HubError(
            f"{repo} wants its licence accepted first",
            where=where,
            hint=f"accept it on the page of {repo}, then run: hf auth login",
        ) from error
    except hub_errors.RepositoryNotFoundError as error:
        known = [family.configs for family in FAMILIES.values()]
        raise HubError(f"the hub has no {repo}", where=where, hint=nearest(repo, known)) from error
    except hub_errors.RevisionNotFoundError as error:
        hint = "leave the revision out, or give a branch, tag or commit that exists"
        raise HubError(f"{repo} has no revision '{revision}'", where=where, hint=hint) from error
    except (hub_errors.EntryNotFoundError, hub_errors.OfflineModeIsEnabled) as error:
        why = "HF_HUB_OFFLINE is set" if offline else "the hub is out of reach"
        raise HubError(
            f"{repo}{at} is not (completely) in the local cache and {why}",
            where=where,
            hint=f"with a connection, once: hf download {repo}; or give the path of a local folder",
        ) from error
    except (OSError, hub_errors.HTTPError) as error:
        hint = "try again, or give the path of a local folder"
        raise HubError(f"fetching {repo}{at} failed: {error}", where=where, hint=hint) from error
    return Found(Path(path), Path(path).name)
