"""Runs with users, as a user runs them: trained, measured on held-out people, resumed, opened."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from diffpref.cli import main
from diffpref.config import RunConfig
from diffpref.data.readers import open_records
from diffpref.data.records import Record
from diffpref.data.user_encoders import FILE as ENCODER
from diffpref.data.user_encoders import load_mean_difference
from diffpref.data.writers import write_jsonl
from diffpref.errors import ConfigError, UsageError
from diffpref.evaluate.profiles import vectors_for
from diffpref.evaluate.subject import open_model
from diffpref.models import user_adapter_of
from diffpref.models.sample import SampleSettings, sample
from diffpref.models.user_files import FILE, read_about
from diffpref.run.execute import execute
from diffpref.train.log import read_metrics
from diffpref.users import find_prior, null_profile
from tests.run.test_resume import Killed, final, kill_at

Make = Callable[..., RunConfig]


@pytest.fixture(scope="session")
def voted(pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ten pairs as the votes of two people; a third voted once."""
    folder = tmp_path_factory.mktemp("voted")
    rows = [row for row in open_records(str(pairs)).rows() if isinstance(row, Record)]
    names = ["ann", "bob"] * 4 + ["ann", "once"]
    write_jsonl(folder, [replace(row, user=name) for row, name in zip(rows, names, strict=True)])
    return folder


@pytest.fixture
def make_personal(make_config: Make, voted: Path) -> Make:
    def make(**changes: Any) -> RunConfig:
        users = {"width": 3, "support": (1, 2), "held_out": "train", "held_out_rows": 6}
        plain: dict[str, Any] = {
            "method": {"name": "ppd", "beta": 2000},
            "adapter": {"kind": "user"},
            "reference": {"kind": "gate_off"},
            "users": {**users, **changes.pop("users", {})},
            "data__source": str(voted),
            "loop__steps": 2,
            "evaluate": {"every": 2},
        }
        return make_config(**{**plain, **changes})

    return make


def test_it_trains_measures_exports_and_is_opened_again(
    make_personal: Make, tmp_path: Path
) -> None:
    folder = execute(make_personal(), tmp_path / "run")
    lines = read_metrics(folder / "metrics.jsonl")
    assert lines[0]["loss"] == pytest.approx(0.6931, abs=1e-3)
    measured = next(line for line in lines if "implicit/own" in line)
    assert measured["implicit/null"] == 0.5  # a closed gate is the reference, to the last bit
    assert measured["implicit_margin/null"] == 0.0
    for name in ("own", "swapped", "anyone"):
        assert 0 <= measured[f"implicit/{name}"] <= 1
        assert measured[f"implicit_margin/{name}"] != 0
    gap = measured["implicit/own"] - measured["implicit/swapped"]
    assert measured["implicit/own-swapped"] == pytest.approx(gap)
    kept = final(folder)
    trained = {
        name.removeprefix("trainable/"): value
        for name, value in kept.items()
        if name.startswith("trainable/")
    }
    assert all(name.startswith("user_adapter.") for name in trained)
    assert any(bool(v.any()) for name, v in trained.items() if "to_v_ip" in name)
    assert read_about(folder)["encoder"] == load_mean_difference(folder / ENCODER).fingerprint
    assert open_model(str(folder)).facts["users_by"] == read_about(folder)["encoder"]
    opened = open_model(str(folder)).bundle
    adapter = user_adapter_of(opened.unet)
    assert adapter is not None
    for name, value in adapter.state_dict().items():
        assert torch.equal(value, trained[f"user_adapter.{name}"])
    how = SampleSettings(steps=2, guidance=1.0)
    base = sample(open_model(opened.source).bundle, ["a thing"], settings=how)
    user = torch.ones(1, 3)
    assert torch.equal(sample(opened, ["a thing"], settings=how), base)
    silent = sample(opened, ["a thing"], settings=how, users=user, strength=0.0)
    assert torch.equal(silent, base)
    assert not torch.equal(sample(opened, ["a thing"], settings=how, users=user), base)
    (folder / FILE).unlink()
    from_checkpoint = user_adapter_of(open_model(str(folder)).bundle.unet)
    assert from_checkpoint is not None
    value = from_checkpoint.projector.proj.weight
    assert torch.equal(value, trained["user_adapter.projector.proj.weight"])


def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(
    make_personal: Make, tmp_path: Path
) -> None:
    config = make_personal(
        save__every=1,
        loop__steps=3,
        evaluate=None,
        model__gradient_checkpointing=True,
        users={"dropout": 0.3},
        loop__rows_per_pass=3,
    )
    whole = execute(config, tmp_path / "whole")
    with pytest.raises(Killed):
        execute(config, tmp_path / "cut", watch=kill_at(2))
    execute(config, tmp_path / "cut", resume="auto")
    ours, theirs = final(tmp_path / "cut"), final(whole)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"users": None}, "users"),
        ({"adapter": {"kind": "lora"}}, "users"),
        ({"method": "diffusion_dpo", "users": None}, "adapter.kind"),
        ({"reference": {"kind": "frozen"}}, "reference.kind"),
        ({"reference": {"kind": "adapters_off"}}, "reference.kind"),
        ({"reference": {"kind": "none"}}, "reference.kind"),
        ({"evaluate": {"every": 2, "scorers": ["world-reward"]}}, "evaluate.scorers"),
        ({"save__best_by": "win_rate/x"}, "save.best_by"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(
    changes: dict[str, Any], where: str, make_personal: Make
) -> None:
    if changes.get("users", {}) is None:
        changes = {**changes, "users": {}}
        with pytest.raises(ConfigError) as refused:
            _without_users(make_personal, changes)
    else:
        with pytest.raises(ConfigError) as refused:
            make_personal(**changes)
    assert where in str(refused.value)


def _without_users(make: Make, changes: dict[str, Any]) -> RunConfig:
    from diffpref.config import parse_config

    changes.pop("users")
    tree = make().model_dump(mode="json") | {"users": None}
    named = {key: {"name": value} for key, value in changes.items() if key == "method"}
    return parse_config(tree | named)


def test_a_gate_needs_users(make_config: Make) -> None:
    with pytest.raises(ConfigError, match="no gate"):
        make_config(reference={"kind": "gate_off"})


def test_votes_of_nobody_are_refused_before_training(
    make_personal: Make, pairs: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="nobody made two choices"):
        execute(make_personal(data__source=str(pairs)), tmp_path / "run")


def test_a_run_of_the_bt_encoder_is_told_profiles_of_its_population_and_no_other(
    make_personal: Make, tmp_path: Path
) -> None:
    users = {"encoder": "bt", "width": 4}
    folder = execute(make_personal(users=users), tmp_path / "run")
    prior = find_prior("bt-world")
    about = read_about(folder)
    mine = null_profile(prior)
    assert about["encoder"] == mine.fingerprint
    assert (about["prior"], about["prior_sha256"]) == ("bt-world", prior.sha256)
    assert find_prior(str(folder)).sha256 == prior.sha256  # profiles may be fitted with --prior RUN
    opened = open_model(str(folder))
    assert vectors_for(mine, opened, 2).shape == (2, 4)
    other = replace(prior, name="other", spread=replace(prior.spread, floor=0.5))
    with pytest.raises(UsageError, match="learned users from") as caught:
        vectors_for(null_profile(other), opened, 1)
    assert caught.value.hint is not None
    assert "--prior bt-world" in caught.value.hint
    (folder / FILE).unlink()
    with pytest.raises(UsageError, match="learned users from"):
        vectors_for(null_profile(other), open_model(str(folder)), 1)


@pytest.mark.parametrize(
    ("users", "hint"),
    [
        ({"encoder": "bt"}, "users.width: 4"),
        ({"encoder": "bt", "width": 4, "prior": "bt-wrld"}, "bt-world"),
        ({"encoder": "bt", "width": 4, "scorer": "world-oracle"}, "users.scorer: world-reward"),
    ],
)
def test_a_population_that_does_not_fit_is_refused_by_field(
    make_personal: Make, tmp_path: Path, users: dict[str, Any], hint: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        execute(make_personal(users=users), tmp_path / "run")
    assert caught.value.where is not None
    assert caught.value.where.startswith("users.")
    assert hint in (caught.value.hint or "")


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_dry_run_counts_what_an_adapter_holds(
    checkpointing: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["users.encoder=bt", "users.width=4", "data.max_rows=8", f"data.cache={tmp_path}/c"]
    asked += [f"model.gradient_checkpointing={str(checkpointing).lower()}"]
    assert main(["train", "shapes/ppd", *asked, "--dry-run", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["memory"]["activations"] > 0
