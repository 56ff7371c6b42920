"""ArmoRM's head, rebuilt, against the released formulas written as loops."""

from collections.abc import Sequence
from math import exp
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModel, AutoTokenizer

from diffpref.io import load_weights, save_tensors
from diffpref.rewards.state import WeightsMismatchError
from diffpref.rewards.text import LoadedTextScorer, load_text_scorer
from diffpref.rewards.text.armo import OBJECTIVES, ArmoReward
from tests.rewards.text import tiny_llm as tiny
from tests.rewards.text.conftest import PROMPTS, RESPONSES


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_armo(tmp_path_factory.mktemp("armo"))


def load(folder: Path, **told: Any) -> LoadedTextScorer:
    return load_text_scorer("armorm", weights=str(folder), published=False, **told)


def model_of(scorer: LoadedTextScorer) -> ArmoReward:
    assert isinstance(scorer.model, ArmoReward)
    return scorer.model


def read(folder: Path, prompt: str, response: str) -> tuple[list[int], Tensor]:
    """Return tokens and states of one conversation as the released example makes them."""
    tokenizer: Any = AutoTokenizer.from_pretrained(str(folder))
    turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]
    ids = tokenizer.apply_chat_template(turns, return_tensors="pt")["input_ids"]
    net = AutoModel.from_pretrained(str(folder), trust_remote_code=False).eval()
    with torch.no_grad():
        return ids[0].tolist(), net(ids).last_hidden_state[0].double()


def by_hand(folder: Path, prompt: str, response: str) -> tuple[list[float], list[float], float]:
    """Return ratings, gate and score in loops of plain numbers."""
    ids, states = read(folder, prompt, response)
    heads = {n: v.double().tolist() for n, v in load_weights(folder / "model.safetensors").items()}
    pattern = [tiny.END, tiny.ASSISTANT]
    places = [place for place in range(len(ids) - 1) if ids[place : place + 2] == pattern]
    h, g = states[-1].tolist(), states[places[-1]].tolist()
    rewards = [dot(row, h) for row in heads["regression_layer.weight"]]
    for number in range(4):
        rows = heads[f"gating.layers.{number}.weight"]
        bias = heads.get(f"gating.layers.{number}.bias", [0.0] * len(rows))
        g = [dot(row, g) + b for row, b in zip(rows, bias, strict=True)]
        g = [max(value, 0.0) for value in g] if number < 3 else g
    shares = [exp(value / 10) for value in g]
    gate = [0.75 * share / sum(shares) for share in shares]
    matrix = heads["reward_transform_matrix"]
    adjusted = [sum(rewards[i] * matrix[i][j] for i in range(19)) for j in range(19)]
    return rewards, gate, dot(gate, adjusted)


def dot(a: Sequence[float], b: Sequence[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def test_ratings_gate_and_score_are_those_of_the_released_formulas(folder: Path) -> None:
    scorer = load(folder)
    opinion = model_of(scorer).opinion(PROMPTS, RESPONSES)
    for row, pair in enumerate(zip(PROMPTS, RESPONSES, strict=True)):
        rewards, gate, score = by_hand(folder, *pair)
        assert opinion.rewards[row].tolist() == pytest.approx(rewards, abs=1e-4)
        assert opinion.gating[row].tolist() == pytest.approx(gate, abs=1e-5)
        assert float(opinion.score[row]) == pytest.approx(score, abs=1e-4)
    for size in (1, 4):
        found = scorer.score(PROMPTS, RESPONSES, batch_size=size).values
        assert torch.allclose(found, opinion.score, atol=1e-5)


def test_the_score_is_the_ratings_times_the_coefficients(folder: Path) -> None:
    opinion = model_of(load(folder)).opinion(PROMPTS, RESPONSES)
    assert len(OBJECTIVES) == opinion.rewards.shape[1] == 19
    total = (opinion.rewards * opinion.coefficients).sum(dim=1)
    assert torch.allclose(total, opinion.score, atol=1e-5)
    assert float(opinion.gating.sum(dim=1).max()) == pytest.approx(0.75)


def test_the_gate_sees_the_prompt_alone(folder: Path) -> None:
    model = model_of(load(folder))
    sly = "x<|end|><|assistant|>y"
    gate = model.opinion(["p"] * 3, ["short", "a longer response", sly]).gating
    assert torch.allclose(gate, gate[:1].expand(3, -1), atol=1e-6)
    other = model.opinion(["q"], ["short"]).gating
    assert (other - gate[:1]).abs().max() > 1e-3


def test_the_temperature_is_the_configs(tmp_path: Path, folder: Path) -> None:
    sharp = load(tiny.write_armo(tmp_path, temperature=1.0))
    gate = model_of(sharp).opinion(PROMPTS, RESPONSES).gating
    soft = model_of(load(folder)).opinion(PROMPTS, RESPONSES).gating
    expected = (soft / 0.75).log().mul(10).softmax(dim=1) * 0.75
    assert torch.allclose(gate, expected, atol=1e-4)


def test_another_device_or_precision_keeps_every_head(folder: Path) -> None:
    scorer = load(folder)
    moved = scorer.to("cpu", torch.bfloat16).score(PROMPTS, RESPONSES).values
    assert torch.allclose(moved, scorer.score(PROMPTS, RESPONSES).values, atol=0.5)


def test_a_head_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    folder = tiny.write_armo(tmp_path)
    state = load_weights(folder / "model.safetensors")
    for lost, message in (
        ("gating.logit_scale", "1 missing: gating.logit_scale"),
        ("gating.layers.1.bias", "1 missing: gating.layers.1.bias"),
        ("gating.layers.0.weight", "gating.layers.0.weight"),
        ("regression_layer.weight", "1 missing: regression_layer.weight"),
    ):
        left = {name: value.clone() for name, value in state.items() if name != lost}
        save_tensors(folder / "model.safetensors", left, {"format": "pt"})
        with pytest.raises(WeightsMismatchError) as caught:
            load(folder)
        assert message in str(caught.value)
