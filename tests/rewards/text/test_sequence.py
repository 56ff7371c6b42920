"""Bradley-Terry scorers equal transformers' own classes; fillers, starts and caps are guarded."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModel, AutoTokenizer, Gemma2PreTrainedModel, PreTrainedConfig

from diffpref.errors import DataError, UnsafeFileError
from diffpref.rewards.state import WeightsMismatchError
from diffpref.rewards.text import LoadedTextScorer, load_text_scorer
from diffpref.rewards.text.sequence import SequenceReward
from tests.rewards.text import tiny_llm as tiny
from tests.rewards.text.conftest import PROMPTS, RESPONSES
from tests.rewards.tiny import plain, seeded


def load(folder: Path, name: str = "bradley-terry", **told: Any) -> LoadedTextScorer:
    return load_text_scorer(name, weights=str(folder), **told)


def stock_ids(folder: Path, prompt: str, response: str) -> Tensor:
    """Return the tokens as Skywork's released example makes them: a template without start."""
    tokenizer: Any = AutoTokenizer.from_pretrained(str(folder))
    turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]
    text = tokenizer.apply_chat_template(turns, tokenize=False)
    return tokenizer(text, return_tensors="pt")["input_ids"]


def stock_scores(folder: Path) -> list[float]:
    """Return what transformers says about each conversation alone."""
    net = tiny.stock_module(folder)
    with torch.no_grad():
        return [
            float(net(stock_ids(folder, *pair)).logits[0, 0])
            for pair in zip(PROMPTS, RESPONSES, strict=True)
        ]


CONFIGS = {"llama": tiny.llama, "gemma2": tiny.gemma2, "qwen3": tiny.qwen3}


@pytest.mark.parametrize("family", CONFIGS)
@pytest.mark.parametrize("side", ["left", "right"])
def test_scores_are_those_of_transformers_for_each_conversation_alone(
    family: str, side: str, tmp_path: Path
) -> None:
    tokenizer = tiny.make_tokenizer(padding_side=side)
    folder = tiny.write_classifier(tmp_path, CONFIGS[family](), tokenizer)
    expected = stock_scores(folder)
    assert max(expected) - min(expected) > 0.1
    scorer = load(folder)
    for size in (1, 3, 4):
        found = scorer.score(PROMPTS, RESPONSES, batch_size=size)
        assert found.values.tolist() == pytest.approx(expected, abs=1e-5)
        assert found.flags == ((),) * 4
    back = scorer.score(PROMPTS[::-1], RESPONSES[::-1]).values.flip(0)
    assert torch.allclose(back, found.values, atol=1e-5)


def test_a_start_token_that_the_template_writes_is_not_doubled(tmp_path: Path) -> None:
    once = tiny.write_classifier(tmp_path / "once")
    twice = tiny.write_classifier(tmp_path / "twice", tokenizer=tiny.make_tokenizer(tiny.STARTED))
    assert stock_ids(twice, "a", "b")[0, :2].tolist() == [tiny.START, tiny.START]
    model = load(twice).model
    assert isinstance(model, SequenceReward)
    assert model.chat.whole("a", "b") == stock_ids(once, "a", "b")[0].tolist()
    assert load(twice).score(PROMPTS, RESPONSES).values.tolist() == pytest.approx(
        stock_scores(once), abs=1e-5
    )
    assert stock_scores(twice) != pytest.approx(stock_scores(once), abs=1e-3)


def test_without_a_filler_batches_are_scored_all_the_same(tmp_path: Path) -> None:
    folder = tiny.write_classifier(tmp_path, tiny.llama(pad_token_id=None))
    with pytest.raises(ValueError, match="Cannot handle batch sizes"):
        tiny.stock_module(folder)(torch.ones(2, 3, dtype=torch.long))
    found = load(folder).score(PROMPTS, RESPONSES, batch_size=4).values
    assert found.tolist() == pytest.approx(stock_scores(folder), abs=1e-5)


def test_a_filler_that_ends_conversations_is_refused_until_the_user_decides(
    tmp_path: Path,
) -> None:
    folder = tiny.write_classifier(tmp_path / "a", tiny.llama(pad_token_id=tiny.END))
    with pytest.raises(DataError, match="is also the token that ends a conversation") as caught:
        load(folder)
    assert "bradley-terry:last" in str(caught.value)
    stock = load(folder, "bradley-terry:stock").score(PROMPTS, RESPONSES).values
    assert stock.tolist() == pytest.approx(stock_scores(folder), abs=1e-5)
    last = load(folder, "bradley-terry:last").score(PROMPTS, RESPONSES).values
    state = plain(tiny.stock_module(folder))
    unfilled = tiny.write(tmp_path / "b", tiny.llama(pad_token_id=None, num_labels=1), state)
    assert last.tolist() == pytest.approx(stock_scores(unfilled), abs=1e-5)
    assert (last - stock).abs().max() > 0.01


def test_fillers_within_a_conversation_change_nothing(tmp_path: Path) -> None:
    folder = tiny.write_classifier(tmp_path)
    pair = ("before <pad><pad> after", "<pad>x<pad>")
    net = tiny.stock_module(folder)
    with torch.no_grad():
        alone = float(net(stock_ids(folder, *pair)).logits[0, 0])
    found = load(folder).score([*PROMPTS, pair[0]], [*RESPONSES, pair[1]]).values
    assert float(found[-1]) == pytest.approx(alone, abs=1e-5)


def test_capped_attention_is_eager_even_where_sdpa_would_be_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny.write_classifier(tmp_path / "capped", tiny.gemma2())
    expected = stock_scores(folder)
    monkeypatch.setattr(Gemma2PreTrainedModel, "_supports_sdpa", True)
    scorer = load(folder)
    assert isinstance(scorer.model, SequenceReward)
    assert scorer.model.decoder.net.config._attn_implementation == "eager"
    found = scorer.score(PROMPTS, RESPONSES).values
    assert found.tolist() == pytest.approx(expected, abs=1e-5)
    free = tiny.write_classifier(tmp_path / "free", tiny.gemma2(attn_logit_softcapping=50.0))
    assert load(free).score(PROMPTS, RESPONSES).values.tolist() != pytest.approx(expected, abs=1e-3)


def test_what_the_model_cannot_read_is_cut_and_flagged(tmp_path: Path) -> None:
    folder = tiny.write_classifier(tmp_path, tiny.llama(max_position_embeddings=24))
    long = "x" * 40
    found = load(folder).score(["hi", "hi"], ["ho", long])
    assert found.flags == ((), ("truncated",))
    net = tiny.stock_module(folder)
    with torch.no_grad():
        cut = net(stock_ids(folder, "hi", long)[:, :24]).logits[0, 0]
    assert float(found.values[1]) == pytest.approx(float(cut), abs=1e-5)


def test_an_encoder_reads_prompt_and_response_as_a_pair(tmp_path: Path) -> None:
    folder = tiny.write_classifier(tmp_path, tiny.deberta(), tiny.make_tokenizer(None))
    net, tokenizer = tiny.stock_module(folder), tiny.make_tokenizer(None)
    with torch.no_grad():
        expected = [
            float(net(**tokenizer(prompt, response, return_tensors="pt")).logits[0, 0])
            for prompt, response in zip(PROMPTS, RESPONSES, strict=True)
        ]
    scorer = load(folder)
    for size in (1, 4):
        found = scorer.score(PROMPTS, RESPONSES, batch_size=size)
        assert found.values.tolist() == pytest.approx(expected, abs=1e-4)
    assert scorer.score("hi", ["ho", "x" * 200]).flags == ((), ("truncated",))
    assert scorer.to("cpu", torch.bfloat16).score("a", ["b"]).values.dtype == torch.float32


def broken(folder: Path, kind: str) -> Path:
    """Write a folder that is almost a reward model."""
    config: PreTrainedConfig = tiny.llama()
    net = seeded(lambda: AutoModel.from_config(config))
    if kind == "base":
        return tiny.write(folder, config, plain(net, "model."))
    if kind == "two labels":
        return tiny.write_classifier(folder, labels=2)
    if kind == "left over":
        tiny.write_classifier(folder)
        state = plain(tiny.stock_module(folder)) | {"surprise.weight": torch.ones(1)}
        return tiny.write(folder, config, state)
    tiny.write_classifier(folder)
    state = plain(tiny.stock_module(folder))
    return tiny.write(folder, config, {n: v for n, v in state.items() if "layers.1.mlp" not in n})


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("base", "1 missing: score.weight"),
        ("two labels", r"score\.weight: \(2, 16\) instead of \(1, 16\)"),
        ("left over", "1 unexpected: surprise.weight"),
        ("cut", "3 missing: model.layers.1.mlp"),
    ],
)
def test_weights_of_another_model_are_refused(kind: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsMismatchError, match=message):
        load(broken(tmp_path, kind))


def test_code_of_the_folder_is_never_run(tmp_path: Path) -> None:
    folder = tiny.write_classifier(tmp_path)
    trap = "from pathlib import Path\nPath(__file__).with_name('ran').touch()\nclass Any: ...\n"
    (folder / "modeling_trap.py").write_text(trap)
    config = (folder / "config.json").read_text()
    maps = '"auto_map": {"AutoConfig": "modeling_trap.Any", "AutoModel": "modeling_trap.Any", '
    maps += '"AutoModelForSequenceClassification": "modeling_trap.Any"}, '
    (folder / "config.json").write_text("{" + maps + config[1:])
    load(folder).score("a", ["b"])
    (folder / "config.json").write_text("{" + maps + config[1:].replace("llama", "unheard-of"))
    with pytest.raises(DataError, match="transformers cannot host it"):
        load(folder)
    assert not (folder / "ran").exists()


def test_pickled_weights_a_lone_file_and_a_missing_template_are_refused(tmp_path: Path) -> None:
    folder = tiny.write_classifier(tmp_path / "a", tokenizer=tiny.make_tokenizer(None))
    with pytest.raises(DataError, match="has no chat template"):
        load(folder)
    with pytest.raises(DataError, match="is not a model's folder"):
        load(folder / "model.safetensors")
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (folder / file).unlink()
    with pytest.raises(DataError, match="its tokenizer cannot be read"):
        load(folder)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(UnsafeFileError, match="is not safetensors"):
        load(folder)


def test_shards_are_read_and_half_precision_is_near(tmp_path: Path) -> None:
    folder = tiny.write_classifier(tmp_path / "one")
    expected = load(folder).score(PROMPTS, RESPONSES).values
    net: Any = tiny.stock_module(folder)
    net.save_pretrained(str(tmp_path / "many"), max_shard_size="20KB")
    tiny.make_tokenizer().save_pretrained(str(tmp_path / "many"))
    assert len(list((tmp_path / "many").glob("*.safetensors"))) > 1
    many = load(tmp_path / "many")
    assert torch.equal(many.score(PROMPTS, RESPONSES).values, expected)
    assert len(many.info.weights) > 1
    half = load(folder, dtype="bf16").score(PROMPTS, RESPONSES).values
    moved = load(folder).to("cpu", torch.bfloat16).score(PROMPTS, RESPONSES).values
    assert torch.allclose(half, expected, atol=0.3)
    assert torch.allclose(half, moved, atol=0.1)
    assert not torch.equal(half, expected)
