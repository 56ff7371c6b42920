"""facts.json of a run folder: what it learned from, in counts and hashes, for its model card."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diffpref.errors import DataError
from diffpref.io import BadText, read_json

FACTS = "facts.json"


def read_facts(run: Path) -> Mapping[str, Any]:
    """Return what a run recorded of itself; nothing for a run of an older release.

    Raises:
        DataError: the file is damaged.
    """
    path = run / FACTS
    if not path.is_file():
        return {}
    try:
        found = read_json(path)
    except BadText as error:
        hint = "remove the file: the card will then say less"
        raise DataError(error.reason, where=str(path), hint=hint) from error
    return found if isinstance(found, dict) else {}
