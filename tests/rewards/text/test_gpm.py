"""GPM: the paper's skew-symmetric form, read where the released example reads it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModel, AutoTokenizer

from diffpref.errors import DataError, UsageError
from diffpref.io import load_weights, save_tensors
from diffpref.rewards.state import WeightsMismatchError
from diffpref.rewards.text import LoadedTextScorer, load_text_scorer
from diffpref.rewards.text.gpm import skew
from tests.rewards.text import tiny_llm as tiny
from tests.rewards.text.conftest import PROMPTS, RESPONSES


def load(folder: Path, **told: Any) -> LoadedTextScorer:
    return load_text_scorer("gpm", weights=str(folder), published=False, **told)


def as_released(folder: Path, prompt: str, responses: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    """Return embeddings and the prompt's state: filled on the left, positions from the mask."""
    tokenizer: Any = AutoTokenizer.from_pretrained(str(folder), padding_side="left")
    opening = [{"role": "user", "content": prompt}]
    turns = [[*opening, {"role": "assistant", "content": text}] for text in responses]
    texts = [tokenizer.apply_chat_template(each, tokenize=False) for each in turns]
    inputs = tokenizer(texts, padding=True, return_tensors="pt")
    inputs["input_ids"][:, -1] = tokenizer.eos_token_id
    mask = inputs["attention_mask"]
    positions = (mask.cumsum(-1) - 1).masked_fill(mask == 0, 1)
    net = AutoModel.from_pretrained(str(folder)).eval()
    with torch.no_grad():
        states = net(inputs["input_ids"], attention_mask=mask, position_ids=positions)
    states = states.last_hidden_state.double()
    head = load_weights(folder / "model.safetensors")["value_head.weight"].double()
    values = states[:, -1] @ head.T
    shown = tokenizer(tokenizer.apply_chat_template(opening, tokenize=False))["input_ids"]
    response_tokens = int(mask[0].sum()) - len(shown)
    return values / values.norm(dim=1, keepdim=True), states[0, -response_tokens - 1]


def by_matrix(values: Tensor, scale: Tensor) -> Tensor:
    """Return s(a, b) = a^T R^T b with R built block by block, as the paper writes it."""
    size = values.shape[1]
    r = torch.zeros(size, size, dtype=torch.float64)
    for k in range(size // 2):
        r[2 * k, 2 * k + 1], r[2 * k + 1, 2 * k] = -scale[k], scale[k]
    return values @ r.T @ values.T


@pytest.mark.parametrize("gate", [True, False])
def test_probabilities_are_those_of_the_released_example(gate: bool, tmp_path: Path) -> None:
    folder = tiny.write_gpm(tmp_path, gate=gate)
    values, state = as_released(folder, PROMPTS[2], RESPONSES)
    scale = torch.ones(3, dtype=torch.float64)
    if gate:
        head = load_weights(folder / "model.safetensors")["prompt_head.weight"].double()
        scale = (head @ state).softmax(dim=0)
    expected = (by_matrix(values, scale) / 0.1).sigmoid()
    scorer = load(folder)
    for size in (1, 3, 8):
        found = scorer.preferences(PROMPTS[2], RESPONSES, batch_size=size)
        assert torch.allclose(found.double(), expected, atol=1e-5)
    assert (expected - 0.5).abs().max() > 0.1


def test_a_response_ties_with_itself_and_the_order_turns_the_sign() -> None:
    rng = torch.Generator().manual_seed(0)
    values = torch.nn.functional.normalize(torch.randn(5, 6, generator=rng), dim=1)
    s = skew(values, torch.tensor([[0.2, 0.5, 0.3]]))
    assert torch.equal(s, -s.T)
    assert torch.equal(s.diagonal(), torch.zeros(5))


def test_preferences_may_go_in_circles() -> None:
    angles = torch.arange(3) * 2 * torch.pi / 3
    values = torch.stack([angles.cos(), angles.sin()], dim=1)
    s = skew(values, torch.ones(1, 1))
    assert bool((s[[0, 1, 2], [1, 2, 0]] > 0.5).all())


def test_it_compares_and_never_scores(tmp_path: Path) -> None:
    scorer = load(tiny.write_gpm(tmp_path))
    assert scorer.info.kind == "pairwise"
    with pytest.raises(UsageError, match="gives no scores"):
        scorer.score("p", ["a"])
    pair = scorer.preferences("p", ["a", "b"])
    assert scorer.compare("p", ["a", "b"]).tolist() == pytest.approx(pair[[0, 1], [1, 0]].tolist())
    shares = scorer.compare("p", RESPONSES)
    assert float(shares.sum()) == pytest.approx(1)
    assert scorer.rank("p", RESPONSES)[0] == int(shares.argmax())
    assert scorer.rank("p", ["a", "a", "a"]) == [0, 1, 2]
    assert scorer.preferences("p", []).shape == (0, 0)


def test_the_second_start_token_is_kept_as_the_model_was_trained(tmp_path: Path) -> None:
    model: Any = load(tiny.write_gpm(tmp_path)).model
    assert model.chat.whole("a", "b")[:2] == [tiny.START, tiny.START]
    assert model.end == tiny.STOP


def test_another_precision_keeps_both_heads(tmp_path: Path) -> None:
    scorer = load(tiny.write_gpm(tmp_path))
    moved = scorer.to("cpu", torch.bfloat16).preferences("p", RESPONSES)
    assert torch.allclose(moved, scorer.preferences("p", RESPONSES), atol=0.3)


def test_heads_that_do_not_fit_each_other_are_refused(tmp_path: Path) -> None:
    folder = tiny.write_gpm(tmp_path)
    state = load_weights(folder / "model.safetensors")
    for name, head in (
        ("value_head.weight", None),
        ("value_head.weight", torch.ones(5, 16)),
        ("prompt_head.weight", torch.ones(2, 16)),
    ):
        left = {n: v.clone() for n, v in state.items() if n != name}
        if head is not None:
            left[name] = head
        save_tensors(folder / "model.safetensors", left, {"format": "pt"})
        with pytest.raises(WeightsMismatchError, match="read as GPM"):
            load(folder)
    save_tensors(folder / "model.safetensors", dict(state), {"format": "pt"})
    tokenizer = tiny.make_tokenizer(tiny.STARTED, eos_token=None)
    tokenizer.save_pretrained(str(folder))
    with pytest.raises(DataError, match="has no end token"):
        load(folder)
