"""Conversations of different lengths."""

import pytest

PROMPTS = ("Say hi.", "What is red?", "Describe a caf\u00e9 at night for a painter.", "2+2")
RESPONSES = ("Hi!", "A colour with a long wave length, such as blood has.", "Dark.", "4, I think")


@pytest.fixture(autouse=True)
def _no_endpoint_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("URL", "MODEL", "KEY"):
        monkeypatch.delenv(f"DIFFPREF_REWARD_{name}", raising=False)
