"""A profile and a model that knows users are checked against each other."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor

from diffpref.data.support import Profile
from diffpref.errors import UsageError
from diffpref.evaluate.opened import Opened, facts_of
from diffpref.evaluate.profiles import USERS_BY, vectors_for
from diffpref.models import add_user_adapter, load_bundle
from tests.models.conftest import write_sd15


@dataclass
class Person:
    embedding: Tensor
    fingerprint: str = "simple/1"


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    bundle = load_bundle(str(write_sd15(tmp_path_factory.mktemp("base"))))
    facts = {**facts_of(bundle), USERS_BY: "simple/1"}
    return Opened(name="mine", bundle=bundle, facts=facts, run=Path("mine"))


def test_a_profile_meets_a_model_of_its_own_encoder(opened: Opened) -> None:
    person = Person(torch.arange(3.0))
    assert isinstance(person, Profile)
    with pytest.raises(UsageError, match="knows no users"):
        vectors_for(person, opened, 2)
    add_user_adapter(opened.bundle.unet, width=3)
    assert vectors_for(person, opened, 2).tolist() == [[0, 1, 2], [0, 1, 2]]
    with pytest.raises(UsageError, match="was made by other/1"):
        vectors_for(Person(torch.arange(3.0), "other/1"), opened, 2)
    with pytest.raises(UsageError, match="with 4 numbers"):
        vectors_for(Person(torch.arange(4.0)), opened, 2)
