"""A tiny decoder in an online run: used, counted, and refused before anything is trained."""

from collections.abc import Callable
from pathlib import Path

import pytest

from diffpref.config import RunConfig
from diffpref.errors import ConfigError
from diffpref.run.execute import execute
from tests.models.tiny_decoder import write_tiny_decoder
from tests.run.test_resume import lines

Make = Callable[..., RunConfig]


@pytest.mark.parametrize("method", ["tailorpo", "refl"])
def test_an_online_run_judges_pictures_of_the_tiny_decoder_and_counts_them(
    online: Make, tmp_path: Path, method: str
) -> None:
    tiny = str(write_tiny_decoder(tmp_path / "taesd"))
    execute(online(method), tmp_path / "full")
    execute(online(method, reward__decoder=tiny), tmp_path / "tiny")
    full, found = lines(tmp_path / "full"), lines(tmp_path / "tiny")
    assert len(found) == 3
    assert found[-1]["calls/vae"] == found[-1]["calls/reward"] > 0
    assert found[0]["calls/vae"] == full[0]["calls/vae"]
    assert found[-1]["loss"] != full[-1]["loss"]


def test_a_decoder_that_is_not_there_stops_the_run_at_its_field(
    online: Make, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="no file or folder") as caught:
        execute(online(reward__decoder="./taesd"), tmp_path / "run")
    assert caught.value.where == "reward.decoder"
