"""A loaded model with its name and the facts that identify it, without paths."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from diffpref.models import Bundle


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where to load on: `dtype` None means the run's own, or fp32 for a plain base."""

    device: str = "cpu"
    dtype: str | None = None


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A loaded model with its name and what identifies it. `run` is its run folder, if any."""

    name: str
    bundle: Bundle
    facts: Mapping[str, str]
    run: Path | None = None


def facts_of(bundle: Bundle) -> dict[str, str]:
    """Return what identifies the weights."""
    facts = {"model": short_name(bundle.source), "fingerprint": bundle.fingerprint}
    return facts if bundle.revision is None else {**facts, "revision": bundle.revision}


def short_name(text: str) -> str:
    """Return a name without folders: results travel, and paths say things about a machine."""
    local = text.startswith((".", "/", "~")) or Path(text).exists()
    return Path(text).resolve().name if local else text.removeprefix("builtin:")
