"""BERT's vocabulary is found beside the weights or where weights may lie, and is checked."""

import json
from hashlib import sha256
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from diffpref.errors import DataError
from diffpref.rewards import SCORERS, LoadOptions, load_scorer, wordpiece
from diffpref.rewards.resolve import MissingWeightsError
from diffpref.rewards.wordpiece import load_wordpiece, read_words
from tests.rewards.tiny_blip import WORDS, write_hub, write_imagereward, write_vocabulary

CARD = SCORERS["imagereward"]
ROWS = len(WORDS) + 2


def test_text_and_json_hold_the_same_words(tmp_path: Path) -> None:
    write_hub(tmp_path)
    assert not (tmp_path / "vocab.txt").exists()
    assert read_words(tmp_path / "tokenizer.json") == list(WORDS)
    write_vocabulary(tmp_path)
    assert read_words(tmp_path / "vocab.txt") == list(WORDS)
    (tmp_path / "vocab.txt").write_bytes("\r\n".join([*WORDS, "[DEC]", "[ENC]"]).encode())
    assert read_words(tmp_path / "vocab.txt") == list(WORDS)


def places(folder: Path) -> dict[str, Path]:
    return {
        "beside": folder / "elsewhere",
        "part": folder / "imagereward" / "vocabulary",
        "card": folder / "imagereward",
        "top": folder,
    }


@pytest.mark.parametrize("place", ["beside", "part", "card", "top"])
def test_the_vocabulary_is_found_wherever_weights_may_lie(place: str, tmp_path: Path) -> None:
    write_imagereward(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "vocab.txt").unlink()
    write_vocabulary(places(tmp_path)[place])
    scorer = load_scorer(
        "imagereward",
        weights=str(tmp_path / "elsewhere" / "ImageReward.pt"),
        weights_dir=tmp_path,
        published=False,
    )
    digest = sha256((places(tmp_path)[place] / "vocab.txt").read_bytes()).hexdigest()
    words = scorer.info.weights[-1]
    assert (words.file, words.layout, words.sha256) == ("vocab.txt", "wordpiece", digest)
    assert [ref.file for ref in scorer.info.weights] == ["ImageReward.pt", "vocab.txt"]


def test_a_vocabulary_given_by_name_comes_first(tmp_path: Path) -> None:
    write_imagereward(tmp_path / "model")
    write_hub(tmp_path / "other")
    told = {
        "model": str(tmp_path / "model" / "ImageReward.pt"),
        "vocabulary": str(tmp_path / "other"),
    }
    scorer = load_scorer("imagereward", weights=told, published=False)
    assert scorer.info.weights[-1].file == "tokenizer.json"


@pytest.mark.parametrize("repo", ["google-bert/bert-base-uncased", "bert-base-uncased"])
def test_the_hubs_cache_is_searched_under_the_new_and_the_old_name(
    repo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_vocabulary(tmp_path / "cache")

    def cached(asked: str, name: str, *, local_files_only: bool) -> str:
        assert local_files_only
        if (asked, name) != (repo, "vocab.txt"):
            raise LocalEntryNotFoundError("not here")
        return str(tmp_path / "cache" / name)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", cached)
    found = load_wordpiece(CARD, LoadOptions(published=False), weights=tmp_path, rows=ROWS)
    assert found[1][0].file == "vocab.txt"


def test_a_vocabulary_that_is_nowhere_is_described(tmp_path: Path) -> None:
    with pytest.raises(MissingWeightsError) as caught:
        load_wordpiece(CARD, LoadOptions(weights_dir=tmp_path), weights=tmp_path, rows=ROWS)
    told = str(caught.value)
    assert "vocab.txt or tokenizer.json" in told
    assert "google-bert/bert-base-uncased" in told
    assert "Apache-2.0" in told


def test_published_weights_want_the_published_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_vocabulary(tmp_path)
    with pytest.raises(DataError, match="not the words of BERT uncased"):
        load_wordpiece(CARD, LoadOptions(), weights=tmp_path, rows=ROWS)
    digest = sha256((tmp_path / "vocab.txt").read_bytes()).hexdigest()
    monkeypatch.setattr(wordpiece, "PUBLISHED", digest)
    assert load_wordpiece(CARD, LoadOptions(), weights=tmp_path, rows=ROWS)[0].id


def test_another_models_vocabulary_is_refused(tmp_path: Path) -> None:
    write_vocabulary(tmp_path)
    with pytest.raises(DataError, match="101 words and 2 of BLIP are not the weights' 30,524"):
        load_wordpiece(CARD, LoadOptions(published=False), weights=tmp_path, rows=30524)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("vocab.txt", "a\nb\n", r"lacks \[PAD\]"),
        ("vocab.txt", "\n".join(("a", *WORDS)), "is not first"),
        ("vocab.txt", "\n".join((*WORDS, "red")), "a word is there twice"),
        ("vocab.txt", b"\xff\xfe", "is not UTF-8"),
        ("tokenizer.json", "{", "cannot be read"),
        ("tokenizer.json", json.dumps({"model": {"vocab": [["a", 1]]}}), "no WordPiece"),
        ("tokenizer.json", json.dumps({"model": {"vocab": {"a": 0, "b": 5}}}), "no WordPiece"),
        ("tokenizer.json", json.dumps({"model": {"vocab": {"a": "x"}}}), "no WordPiece"),
        ("tokenizer.json", "[]", "no WordPiece"),
    ],
)
def test_a_damaged_vocabulary_is_named(
    name: str, content: str | bytes, message: str, tmp_path: Path
) -> None:
    data = content if isinstance(content, bytes) else content.encode()
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=message) as caught:
        read_words(tmp_path / name)
    assert name in str(caught.value)


def test_a_vocabulary_of_unreasonable_size_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_vocabulary(tmp_path)
    monkeypatch.setattr(wordpiece, "MAX_BYTES", 100)
    with pytest.raises(DataError, match="too large"):
        read_words(tmp_path / "vocab.txt")
