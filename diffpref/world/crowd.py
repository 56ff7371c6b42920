"""The people who voted on the bundled pairs, by the name their votes carry."""

from typing import Any, cast

from diffpref.assets import assets_root
from diffpref.io import read_json
from diffpref.world.people import Person, people

CROWD = 100
"""People drawn when the pairs were made; splits.py divides them."""


def bundled_crowd() -> dict[str, Person]:
    """Return every voter of `builtin:pairs`, whose taste is known exactly."""
    manifest = cast(dict[str, Any], read_json(assets_root() / "manifest.json"))
    return {str(number): each for number, each in enumerate(people(int(manifest["seed"]), CROWD))}
