"""Whether a checkpoint belongs to this run, field by field."""

import json
from collections.abc import Iterable, Mapping
from typing import cast

from diffpref.errors import CheckpointError, nearest

_ABSENT = "(absent)"


def check_identity(
    saved: Mapping[str, object], current: Mapping[str, object], allow: Iterable[str] = ()
) -> tuple[str, ...]:
    """Compare two identity blocks and return the differences that were allowed, as sentences.

    Args:
        saved: from the checkpoint.
        current: of the run about to start; compared as JSON would store it.
        allow: dotted keys that may differ, or parents of such keys.

    Raises:
        CheckpointError: the message lists every field that differs, and the allowed keys that
            name no field.
    """
    before, now = _flat(saved), _flat(cast(dict[str, object], json.loads(json.dumps(current))))
    allowed = tuple(allow)
    for key in allowed:
        if not any(_covers(key, field) for field in {*before, *now}):
            what = f"--allow-change {key} names no field of the checkpoint's identity"
            raise CheckpointError(what, hint=nearest(key, {*before, *now}))
    accepted: list[str] = []
    refused: dict[str, str] = {}
    for field in sorted({*before, *now}):
        old, new = before.get(field, _ABSENT), now.get(field, _ABSENT)
        if old == new:
            continue
        sentence = f"{field}: checkpoint {old}, now {new}"
        if any(_covers(key, field) for key in allowed):
            accepted.append(sentence)
        else:
            refused[field] = sentence
    if refused:
        lines = "\n  ".join(refused.values())
        hint = "start a new run, or accept each field: " + " ".join(
            f"--allow-change {field}" for field in refused
        )
        raise CheckpointError(f"this checkpoint belongs to another run\n  {lines}", hint=hint)
    return tuple(accepted)


def _covers(key: str, field: str) -> bool:
    return field == key or field.startswith(f"{key}.")


def _flat(tree: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    """Return {dotted key: JSON text}; an empty object is a value of its own."""
    flat: dict[str, str] = {}
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            flat |= _flat(cast(dict[str, object], value), f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = json.dumps(value, sort_keys=True)
    return flat
