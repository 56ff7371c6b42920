"""Networks that wait in main memory, and come back."""

from pathlib import Path

import pytest
import torch
from torch import nn

from diffpref.models import Bundle, load_bundle
from diffpref.models.place import at_hand, beside, waiting


def places(bundle: Bundle) -> list[str]:
    nets: list[nn.Module] = [bundle.unet, *beside(bundle)]
    return [str(next(net.parameters()).device) for net in nets]


def test_on_one_device_nothing_moves_and_everything_works(bundle: Bundle) -> None:
    before = bundle.encode_text(["a thing"]).text
    with waiting([bundle.unet]), waiting(beside(bundle)), at_hand(bundle):
        assert torch.equal(bundle.encode_text(["a thing"]).text, before)
    assert set(places(bundle)) == {"cpu"}


@pytest.mark.gpu
def test_what_waits_leaves_the_device_and_comes_back(folder: Path) -> None:
    bundle = load_bundle(str(folder), device="cuda")
    with waiting(beside(bundle)):
        assert places(bundle)[0].startswith("cuda")
        assert set(places(bundle)[1:]) == {"cpu"}
        with at_hand(bundle):
            assert all(place.startswith("cuda") for place in places(bundle))
        assert set(places(bundle)[1:]) == {"cpu"}
    assert all(place.startswith("cuda") for place in places(bundle))


@pytest.mark.gpu
def test_they_come_back_after_an_error_too(folder: Path) -> None:
    bundle = load_bundle(str(folder), device="cuda")
    with pytest.raises(RuntimeError, match="stop"), waiting(beside(bundle)):
        raise RuntimeError("stop")
    assert all(place.startswith("cuda") for place in places(bundle))
