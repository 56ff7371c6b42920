"""Methods and parts by name: what fits is built, what does not is refused by its key."""

import json
from dataclasses import replace
from inspect import Parameter
from typing import Any

import pytest
import torch

from diffpref.catalogue import (
    build_objective,
    describe,
    find_method,
    method_names,
    method_parameters,
)
from diffpref.draws import Draws
from diffpref.errors import ConfigError
from diffpref.labels import soft
from diffpref.losses import PairLoss
from diffpref.methods import METHODS
from diffpref.methods.diffusion_dpo import diffusion_dpo
from diffpref.papers import Method
from diffpref.parts import PARTS, parameters
from diffpref.toolkit import Toolkit
from diffpref.types import Nets, PreferenceLoss, ResidualLoss

NOBODY = Nets(policy=lambda *_: torch.empty(0), reference=None)


def _dpo(kit: Toolkit, parts: dict[str, Any], **settings: Any) -> Any:
    return build_objective("diffusion_dpo", kit, settings, parts)


def test_a_methods_parameters_are_its_signatures() -> None:
    knobs = method_parameters("diffusion_dpo")
    assert {name: knob.default for name, knob in knobs.items()} == {"beta": 5000.0}
    assert knobs["beta"].annotation is float
    assert method_parameters("sft") == {}


def test_a_replaced_loss_inherits_beta_unless_it_sets_its_own(kit: Toolkit) -> None:
    assert _dpo(kit, {}).loss.beta == 5000
    assert _dpo(kit, {"loss": "exo"}, beta=2000).loss.beta == 2000
    assert _dpo(kit, {"loss": {"kind": "hinge", "beta": 70}}, beta=2000).loss.beta == 70


def test_settings_of_a_part_reach_it(kit: Toolkit) -> None:
    half = torch.zeros(1, dtype=torch.float64)
    label = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    for alpha in (0.01, 0.2):
        made = _dpo(kit, {"loss": {"kind": "exo", "alpha": alpha}}).loss
        expected = 0.5 * torch.log(torch.tensor(0.25 / (alpha * (1 - alpha))).double())
        assert made.head(half, label).item() == pytest.approx(expected.item(), abs=1e-7)
    discrete = _dpo(kit, {"timesteps": {"kind": "discrete", "steps": [5]}}).timesteps
    assert discrete(Draws(seed=0, positions=torch.arange(3)), 1000).tolist() == [5, 5, 5]
    assert _dpo(kit, {"label": "soft"}).label is soft


def test_parts_combine_and_leave_the_original_alone(kit: Toolkit, make_batch: Any) -> None:
    parts = {
        "loss": {"kind": "cross_entropy", "epsilon": "0.1"},
        "label": "soft",
        "trajectory": {"kind": "forward", "shared": False},
        "timesteps": {"kind": "uniform", "low": 7, "high": 8},
    }
    objective = _dpo(kit, parts)
    assert objective.learns_from_ties
    batch = make_batch(2)
    point = objective.draw(NOBODY, batch, Draws(seed=0, positions=batch.positions))
    assert point.t.tolist() == [7] * 4
    assert not torch.equal(point.noise[0], point.noise[1])
    assert not diffusion_dpo(kit).learns_from_ties


@pytest.mark.parametrize(
    ("parts", "key", "says"),
    [
        ({"los": "exo"}, "parts.los", "did you mean 'loss'"),
        ({"loss": "exoo"}, "parts.loss", "did you mean 'exo'"),
        ({"loss": "ipo"}, "parts.loss", "called 'squared' here"),
        ({"loss": "sigmoid"}, "parts.loss", "called 'logistic' here"),
        ({"loss": {"alpha": 0.1}}, "parts.loss.kind", "known: "),
        ({"loss": {"kind": "exo", "alfa": 0.1}}, "parts.loss.alfa", "exo takes beta, alpha"),
        ({"loss": {"kind": "exo", "alpha": "x"}}, "parts.loss.alpha", "valid number"),
        ({"loss": {"kind": "exo", "alpha": True}}, "parts.loss.alpha", "not a finite"),
        ({"loss": {"kind": "exo", "beta": float("nan")}}, "parts.loss.beta", "not a finite"),
        ({"loss": {"kind": "exo", "alpha": 0.7}}, "parts.loss", "between 0 and 1/2"),
        ({"loss": "likelihood"}, "parts.loss", "choose method: sft"),
        ({"timesteps": "discrete"}, "parts.timesteps.steps", "discrete needs steps"),
        ({"timesteps": {"kind": "discrete", "steps": [1200]}}, "parts.timesteps", "0..999"),
        ({"timesteps": {"kind": "uniform", "low": 9, "high": 3}}, "parts.timesteps", "low < high"),
        ({"label": {"kind": "hard", "top": 1}}, "parts.label.top", "takes no settings"),
    ],
)
def test_a_part_that_does_not_fit_is_refused_by_its_key(
    kit: Toolkit, parts: dict[str, Any], key: str, says: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        _dpo(kit, parts)
    assert caught.value.where == key
    assert says in str(caught.value)
    assert caught.value.exit_code == 3


def test_a_pair_loss_is_refused_by_a_method_without_pairs(kit: Toolkit) -> None:
    with pytest.raises(ConfigError, match=r"parts\.loss.*single images"):
        build_objective("sft", kit, {}, {"loss": {"kind": "hinge", "beta": 2.0}})


def test_the_head_and_the_weight_of_step_methods_are_parts(kit: Toolkit) -> None:
    changed: Any = build_objective("tailorpo", kit, {"beta": 7.0}, {"loss": "hinge"})
    assert changed.loss.beta == 7
    assert changed.first_loss == 1
    for kind in ("exact", "flat", "guidance"):
        changed = build_objective("tailorpo", kit, {}, {"weight": kind})
        assert changed.weight == kind
    walks: Any = build_objective("d3po", kit, {}, {"loss": {"kind": "squared", "beta": 3.0}})
    assert (walks.loss.beta, walks.first_loss) == (3, 0.25)
    both = {"loss": "robust", "weight": "flat"}
    assert build_objective("spo", kit, {"clamp": None}, both).weight == "flat"


@pytest.mark.parametrize(
    ("method", "parts", "key", "says"),
    [
        ("tailorpo", {"guard": {"kind": "winner", "mu": 0.9}}, "parts.guard", "has no guard"),
        ("tailorpo", {"wait": "flat"}, "parts.wait", "did you mean 'weight'"),
        ("tailorpo", {"weight": "steep"}, "parts.weight", "known: exact, flat, guidance"),
        ("tailorpo", {"loss": "odds_ratio"}, "parts.loss", "only the logit"),
        ("tailorpo", {"loss": "likelihood"}, "parts.loss", "learns from single images"),
        ("spo", {"weight": "flat"}, "parts.weight", "clamp holds exact ratios"),
        ("d3po", {"weight": "flat"}, "parts.weight", "has no weight"),
        ("diffusion_dpo", {"weight": "flat"}, "parts.weight", "has no weight"),
        ("grpo", {"loss": "hinge"}, "parts", "not composed of parts"),
        ("draft", {"loss": "hinge"}, "parts", "not composed of parts"),
    ],
)
def test_a_part_that_does_not_fit_sampled_steps_is_refused_by_its_key(
    kit: Toolkit, method: str, parts: dict[str, Any], key: str, says: str
) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        build_objective(method, kit, {}, parts)
    assert caught.value.where == key


@pytest.mark.parametrize(
    ("method", "settings", "says"),
    [
        ("tailorpo", {"k": 1}, "k must be at least 2"),
        ("tailorpo", {"start": 1.0}, "start must be"),
        ("tailorpo", {"kl": -1.0}, "kl must be"),
        ("tailorpo", {"push": -1.0}, "push must be"),
        ("tailorpo", {"weight": "steep"}, "weight"),
        ("spo", {"clamp": 1.5}, "clamp must be"),
        ("spo", {"threshold": [0.3, 1.2]}, "threshold must be"),
        ("spo", {"threshold": [0.3]}, "threshold"),
        ("d3po", {"clamp": 0.0}, "clamp must be"),
        ("d3po", {"k": 1}, "k must be at least 2"),
        ("ddpo", {"range": 0.0}, "range must be"),
        ("grpo", {"clip": 0.0}, "advantage must be above 0"),
        ("nft", {"beta": 0.0}, "beta and clip must be above 0"),
        ("refl", {"start": 1.0}, "shares must be"),
        ("refl", {"scale": 0.0}, "scale must be"),
        ("draft", {"steps": 6}, "1 to 5, the number of sampling steps"),
        ("alignprop", {"low": 0.9, "high": 0.5}, "shares must be"),
    ],
)
def test_settings_out_of_range_are_refused_under_method(
    kit: Toolkit, method: str, settings: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        build_objective(method, kit, settings, {})
    assert str(caught.value.where).startswith("method")


def test_methods_that_differentiate_a_reward_ask_for_one_and_for_a_plan(
    kit: Toolkit, make_reward: Any
) -> None:
    for name in ("refl", "draft", "alignprop"):
        with pytest.raises(ConfigError, match="rollout: section"):
            build_objective(name, Toolkit(schedule=kit.schedule, reward=make_reward), {}, {})
        with pytest.raises(ConfigError, match="under reward:"):
            build_objective(name, Toolkit(schedule=kit.schedule, plan=kit.plan), {}, {})
        for kind, says in (
            ({"differentiable": False}, "without gradient"),
            ({"noisy": True}, "noisy"),
        ):
            odd = replace(kit, reward=lambda kind=kind: make_reward(**kind))
            with pytest.raises(ConfigError, match=says) as caught:
                build_objective(name, odd, {}, {})
            assert caught.value.where == "reward"


def test_wrong_hyper_parameters_are_refused_by_their_key(kit: Toolkit) -> None:
    with pytest.raises(ConfigError, match=r"method\.stepz: diffusion_dpo takes beta"):
        _dpo(kit, {}, stepz=3)
    with pytest.raises(ConfigError, match=r"method\.beta"):
        _dpo(kit, {}, beta="much")
    with pytest.raises(ConfigError, match=r"method: beta must be above 0"):
        _dpo(kit, {}, beta=-1.0)
    with pytest.raises(ConfigError, match="did you mean 'diffusion_dpo'"):
        find_method("diffusion-dpo")


@pytest.mark.parametrize("name", METHODS)
def test_every_method_can_be_described_and_cited(name: str) -> None:
    record = describe(name)
    assert json.loads(json.dumps(record)) is not None
    paper = METHODS[name].paper
    assert paper.arxiv in str(record["equation"])
    assert "Departs from" in str(record["equation"])
    entry = paper.bibtex
    assert entry.startswith("@misc{")
    assert entry.count("{") == entry.count("}")
    for part in (paper.arxiv, paper.title, str(paper.year), *paper.authors):
        assert part in entry
    assert name in method_names()


def test_bibtex_keys_are_author_year_word() -> None:
    assert METHODS["diffusion_dpo"].paper.bibtex.startswith("@misc{wallace2023diffusion,")


class _Entry:
    def __init__(self, name: str, value: object) -> None:
        self.name, self.value, self.found, self.loads = name, "other:METHOD", value, 0

    def load(self) -> object:
        self.loads += 1
        return self.found


def test_a_plugin_is_found_after_the_table_and_loaded_only_when_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    good, bad = _Entry("theirs", METHODS["sft"]), _Entry("broken", 3)
    shadow = _Entry("sft", 4)
    monkeypatch.setattr(
        "diffpref.catalogue.entry_points", lambda group: [good, bad, shadow] if group else []
    )
    assert method_names() == sorted([*METHODS, "broken", "theirs"])
    assert isinstance(find_method("sft"), Method)
    assert good.loads == bad.loads == shadow.loads == 0
    assert find_method("theirs") is METHODS["sft"]
    with pytest.raises(ConfigError, match="other:METHOD is a int"):
        find_method("broken")


def test_every_loss_says_what_it_learns_from_and_heads_without_a_default_take_beta() -> None:
    for make in PARTS["loss"].values():
        knob = parameters(make).get("beta")
        needs = knob is not None and knob.default is Parameter.empty
        loss = make(beta=2.0) if needs else make()
        assert loss.unit in {"images", "pairs", "lists", "unpaired"}
        assert isinstance(loss, PreferenceLoss | ResidualLoss)
        assert needs or not isinstance(loss, PairLoss)
