"""Speed: what reaches the disk through a power cut is proven in tests/io."""

from pathlib import Path

import pytest

from diffpref.io.fs import RealFs


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(self: RealFs, place: int | Path) -> None:
        del self, place

    monkeypatch.setattr(RealFs, "fsync", nothing)
    monkeypatch.setattr(RealFs, "sync_folder", nothing)
