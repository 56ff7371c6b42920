"""The contract every text scorer keeps."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from diffpref.errors import DataError, UsageError
from diffpref.rewards.resolve import MissingWeightsError
from diffpref.rewards.state import WeightsMismatchError
from diffpref.rewards.text import (
    TEXT_SCORERS,
    LoadedTextScorer,
    load_text_scorer,
    sequence,
    text_scorer_names,
)
from tests.rewards.text import tiny_llm as tiny
from tests.rewards.text.conftest import PROMPTS, RESPONSES

LOCAL: dict[str, Callable[[Path], object]] = {
    "bradley-terry": tiny.write_classifier,
    "skywork-reward:v2-qwen3-0.6b": lambda folder: tiny.write_classifier(folder, tiny.qwen3()),
    "skywork-reward:gemma-2-27b": lambda folder: tiny.write_classifier(folder, tiny.gemma2()),
    "fsfairx": tiny.write_classifier,
    "armorm": tiny.write_armo,
    "gpm": tiny.write_gpm,
}
REMOTE = {"worldpm", "reward-endpoint"}


@pytest.fixture(scope="module", params=LOCAL)
def scorer(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> LoadedTextScorer:
    name: str = request.param
    folder = tmp_path_factory.mktemp("weights")
    plain, _, variant = name.partition(":")
    default = TEXT_SCORERS[plain].variants[:1] if plain == "gpm" else ()
    LOCAL[name](folder.joinpath(plain, *([variant] if variant else default)))
    return load_text_scorer(name, weights_dir=folder, published=False)


def test_every_card_has_a_test_of_its_contract() -> None:
    assert {name.partition(":")[0] for name in LOCAL} | REMOTE == set(TEXT_SCORERS)
    assert text_scorer_names() == sorted(TEXT_SCORERS)


def test_order_does_not_matter_and_choices_follow_scores(scorer: LoadedTextScorer) -> None:
    chances = scorer.compare(PROMPTS[0], RESPONSES)
    back = scorer.compare(PROMPTS[0], RESPONSES[::-1])
    assert torch.allclose(chances, back.flip(0), atol=1e-5)
    assert float(chances.sum()) == pytest.approx(1)
    table = scorer.preferences(PROMPTS[0], RESPONSES)
    assert torch.allclose(table + table.T, torch.ones(4, 4), atol=1e-6)
    assert scorer.rank(PROMPTS[0], RESPONSES)[0] == int(chances.argmax())
    assert scorer.rank(PROMPTS[0], ["same"] * 3) == [0, 1, 2]
    if scorer.info.kind == "text":
        scores = scorer.score(PROMPTS[0], RESPONSES).values
        sharper = scorer.compare(PROMPTS[0], RESPONSES, temperature=2.0)
        assert torch.allclose(sharper, (scores / 2).softmax(dim=0))
        gaps = (scores[:, None] - scores[None, :]) / scorer.info.temperature
        assert torch.allclose(table, gaps.sigmoid(), atol=1e-5)


def test_prompts_broadcast_and_numbers_must_match(scorer: LoadedTextScorer) -> None:
    if scorer.info.kind == "pairwise":
        return
    told: list[tuple[int, int | None]] = []
    once = scorer.score(
        PROMPTS[0], RESPONSES, batch_size=3, progress=lambda done, of: told.append((done, of))
    )
    each = scorer.score([PROMPTS[0]] * 4, RESPONSES, batch_size=1)
    assert torch.allclose(once.values, each.values, atol=1e-5)
    assert told == [(3, 4), (4, 4)]
    assert once.values.dtype == torch.float32
    assert not once.values.requires_grad
    assert scorer.score([], []).values.shape == (0,)
    with pytest.raises(DataError, match="3 prompts for 4 responses"):
        scorer.score(PROMPTS[:3], RESPONSES)
    with pytest.raises(DataError, match="one text instead of several"):
        scorer.score("p", "r")


def test_the_weights_are_told_by_content(scorer: LoadedTextScorer) -> None:
    assert len(scorer.info.weights) == 1
    assert len(scorer.info.weights[0].sha256) == 64
    assert scorer.to("cpu").info == scorer.info


def test_unknown_names_and_missing_weights_say_what_to_do(tmp_path: Path) -> None:
    for name, message in (
        ("skywork", "did you mean 'skywork-reward'"),
        ("skywork-reward:v3", "has no variant 'v3'"),
    ):
        with pytest.raises(UsageError) as caught:
            load_text_scorer(name)
        assert message in str(caught.value)
    with pytest.raises(UsageError, match="is not a precision"):
        load_text_scorer("gpm", dtype="int4")
    with pytest.raises(MissingWeightsError) as missing:
        load_text_scorer("skywork-reward", weights_dir=tmp_path)
    assert "Skywork/Skywork-Reward-V2-Qwen3-0.6B" in str(missing.value)


def test_weights_of_another_size_than_published_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny.write_classifier(tmp_path)
    card = TEXT_SCORERS["fsfairx"]
    sized = replace(card, parts=(replace(card.parts[0], parameters=7),))
    monkeypatch.setattr(sequence, "TEXT_SCORERS", {"fsfairx": sized})
    with pytest.raises(WeightsMismatchError, match="the published ones 7"):
        load_text_scorer("fsfairx", weights=str(folder))
    load_text_scorer("fsfairx", weights=str(folder), published=False)
