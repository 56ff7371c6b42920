"""Every preset loads and builds; every mistake is told in the file's words."""

import re
from pathlib import Path
from typing import Any, get_args

import pytest

from diffpref.assets import presets
from diffpref.catalogue import build_objective
from diffpref.config import dump_config, load_config, parse_config
from diffpref.config.read import OTHER_NAMES
from diffpref.config.schema import RunConfig
from diffpref.config.stand_in import stand_in
from diffpref.errors import ConfigError, UsageError, nearest
from diffpref.models.hub import locate

MINIMAL = """
model: {base: "builtin:base"}
method: diffusion_dpo
data: {source: "builtin:pairs"}
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", sorted(presets()))
def test_every_preset_loads_builds_and_says_what_it_is_for(name: str) -> None:
    path = presets()[name]
    config = load_config(path)
    build_objective(
        config.method.name, stand_in(config.rollout), config.method.settings, config.parts
    )
    assert path.read_text().startswith("# ")


def test_the_resolved_configuration_reads_back_the_same(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, MINIMAL), ["method.beta=2000", "loop.steps=7"])
    assert load_config(write(tmp_path, dump_config(config))) == config
    assert config.method.settings == {"beta": 2000}
    assert config.loop.steps == 7


MISTAKES: list[tuple[str, str, str]] = [
    ("loop.stepz=3", "loop.stepz", "steps"),
    ("loop.steps=0", "loop.steps", "greater than or equal to 1"),
    ("loop.steps=many", "loop.steps", "integer"),
    ("modle.base=x", "modle", "model"),
    ("model.dtype=fp8", "model.dtype", "fp16"),
    ("method.betta=3", "method.betta", "beta"),
    ("method.name=difusion_dpo", "method.name", "diffusion_dpo"),
    ("method.beta=-1", "method", "beta"),
    ("parts.loss=sigmoid", "parts.loss", "logistic"),
    ("parts.los=hinge", "parts.los", "loss"),
    ("parts.loss=likelihood", "parts.loss", "sft"),
    ("reference.kind=none", "reference.kind", "adapters_off"),
    ("adapter.kind=full", "reference.kind", "frozen"),
    ("data.ties=soft", "data.ties", "cross_entropy"),
    ("save.best_by=win_rate/x", "save.best_by", "evaluate.scorers"),
    ("optimizer.warmup=5000", "optimizer.warmup", "loop.steps"),
    ("data.on_bad_row=skp", "data.on_bad_row", "skip"),
]


@pytest.mark.parametrize(("override", "where", "hint"), MISTAKES)
def test_a_mistake_names_the_key_and_the_remedy(
    tmp_path: Path, override: str, where: str, hint: str
) -> None:
    with pytest.raises(ConfigError) as told:
        load_config(write(tmp_path, MINIMAL), [override])
    assert where in str(told.value)
    assert hint in str(told.value)
    assert told.value.exit_code == 3


def test_a_mistake_in_the_file_names_its_line(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL + "loop:\n  steps: 3\n  micro_bathces: 2\n")
    with pytest.raises(ConfigError, match=r"run\.yaml:7: loop\.micro_bathces") as told:
        load_config(path)
    assert "did you mean 'micro_batches'" in str(told.value)


def test_a_missing_key_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"model\.base.*required"):
        load_config(write(tmp_path, "model: {}\nmethod: sft\ndata: {source: x}\n"))


@pytest.mark.parametrize("text", ["steps", "=3", "loop..steps=3"])
def test_an_override_without_key_and_value_is_a_usage_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError):
        load_config(write(tmp_path, MINIMAL), [text])


def test_an_override_replaces_a_value_of_the_file_and_keeps_its_siblings(tmp_path: Path) -> None:
    text = MINIMAL + "loop: {steps: 5, micro_batches: 3}\n"
    config = load_config(write(tmp_path, text), ["loop.steps=9", "parts.loss.kind=hinge"])
    assert (config.loop.steps, config.loop.micro_batches) == (9, 3)
    assert config.parts == {"loss": {"kind": "hinge"}}


def test_soft_ties_go_with_a_loss_that_learns_from_them(tmp_path: Path) -> None:
    changes = ["data.ties=soft", "parts.loss=cross_entropy", "parts.label=soft"]
    assert load_config(write(tmp_path, MINIMAL), changes).data.ties == "soft"


def test_a_method_may_be_a_word_or_a_mapping() -> None:
    tree: dict[str, Any] = {
        "model": {"base": "x"},
        "data": {"source": "y"},
        "reference": {"kind": "none"},
    }
    assert parse_config({**tree, "method": "sft"}) == parse_config(
        {**tree, "method": {"name": "sft"}}
    )


@pytest.mark.parametrize(
    ("preset", "override", "told"),
    [
        ("shapes/inpo", "method.network=refrence", "did you mean 'reference'?"),
        ("shapes/spo", "method.weight=flatt", "did you mean 'flat'?"),
        ("shapes/spo", "method.continue_from=loosr", "did you mean 'loser'"),
        ("shapes/spo", "method.k=1", "methods show spo"),
        ("shapes/draft", "method.steps=99", "methods show draft"),
        ("shapes/dpo", "method.beta=strong", "change method.beta"),
    ],
)
def test_a_setting_of_a_method_that_is_wrong_leads_to_the_right_one(
    preset: str, override: str, told: str
) -> None:
    with pytest.raises(ConfigError) as error:
        built(preset, override)
    assert told in str(error.value)
    assert "Input should be 'policy'" not in str(error.value)


def test_weights_decay_alike_in_both_families() -> None:
    """Released scripts pass one decay to whichever optimizer runs: AdamW or, on SDXL, Adafactor."""
    decay = {name: load_config(name).optimizer.weight_decay for name in presets()}
    names = {name.partition("/")[2] for name in presets()}
    both = [name for name in names if {f"sd15/{name}", f"sdxl/{name}"} <= decay.keys()]
    assert len(both) > 30
    assert [name for name in both if decay[f"sd15/{name}"] != decay[f"sdxl/{name}"]] == []


def built(preset: str, override: str) -> None:
    config = load_config(preset, [override])
    build_objective(
        config.method.name, stand_in(config.rollout), config.method.settings, config.parts
    )


def test_a_mistake_on_the_command_line_is_not_blamed_on_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL + "loop: {steps: 5}\n")
    with pytest.raises(ConfigError) as told:
        load_config(path, ["loop.stpes=3"])
    assert told.value.where == "loop.stpes (on the command line)"
    with pytest.raises(ConfigError) as told:
        load_config(path, ["loop.micro_batches=2", "loop.steps=none"])
    assert told.value.where == "loop.steps (on the command line)"


def test_a_mistake_in_the_file_keeps_its_line_beside_an_override(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL + "loop: {steps: 0}\n")
    with pytest.raises(ConfigError) as told:
        load_config(path, ["loop.micro_batches=2"])
    assert told.value.where == f"{path}:5: loop.steps"


@pytest.mark.parametrize(
    ("override", "meant"),
    [
        ("train.stpes=3", "loop.steps"),
        ("model.path=x", "model.base"),
        ("steps=3", "loop.steps"),
        ("learning_rate=1", "optimizer.lr"),
        ("batch_size=1", "data.pairs_per_batch"),
    ],
)
def test_a_key_of_another_section_or_trainer_leads_to_ours(
    tmp_path: Path, override: str, meant: str
) -> None:
    with pytest.raises(ConfigError) as told:
        load_config(write(tmp_path, MINIMAL), [override])
    assert f"'{meant}'" in str(told.value.hint)


def test_the_other_names_lead_to_keys_that_exist() -> None:
    known = {f"{part}.{leaf}" for part in list(RunConfig.model_fields) for leaf in leaves(part)}
    assert set(OTHER_NAMES.values()) <= known


def leaves(part: str) -> list[str]:
    kind = RunConfig.model_fields[part].annotation
    kinds = [kind, *get_args(kind)]
    return [leaf for each in kinds for leaf in getattr(each, "model_fields", {})]


def test_a_close_name_is_shown_alone_and_a_far_one_leads_to_a_short_list() -> None:
    names = [f"name{number:02d}" for number in range(30)] + ["zebra"]
    assert nearest("zebr", names) == "did you mean 'zebra'?"
    assert nearest("name07", names).count("name") == 4
    far = nearest("quux", names, listed_by="diffpref config list")
    assert far.count("name") == 8
    assert far.endswith("and 23 more; `diffpref config list` lists them all")


def test_a_missing_base_lists_no_folder_and_suggests_only_a_close_one(tmp_path: Path) -> None:
    (tmp_path / "checkpoint").mkdir()
    for source, meant in (("checkpont", True), ("nope", False)):
        with pytest.raises(ConfigError) as told:
            locate(str(tmp_path / source), where="model.base")
        assert ("checkpoint" in str(told.value.hint)) is meant
        assert str(told.value.hint).endswith("or a hub id: owner/name")


ONLINE = [name for name, path in presets().items() if "\nrollout:" in path.read_text()]


@pytest.mark.parametrize("name", [name for name in ONLINE if not name.startswith("shapes/")])
def test_an_online_preset_is_judged_by_others_and_stopped_by_drift(name: str) -> None:
    config = load_config(name)
    assert config.evaluate is not None
    assert config.reward is not None
    assert len(config.evaluate.scorers) == 2
    assert config.reward.scorer not in config.evaluate.scorers
    assert "low_level" in config.evaluate.max_drift


@pytest.mark.parametrize("method", ["spo", "gradspo", "lpo"])
@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_the_published_form_in_a_presets_comments_builds(
    tmp_path: Path, family: str, method: str
) -> None:
    text = presets()[f"{family}/{method}"].read_text()
    kept = [line for line in text.splitlines() if not line.startswith(("method:", "reward:"))]
    lines = [re.sub("^# (method|reward): ", r"\1: ", line) for line in kept]
    config = load_config(write(tmp_path, "\n".join(lines)))
    build_objective(
        config.method.name, stand_in(config.rollout), config.method.settings, config.parts
    )
    assert config.method.settings["min_gap"] == 0
    assert config.reward is not None
    assert config.reward.standardise == 0
