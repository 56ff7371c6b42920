"""Prompts are cut into BERT's words as WordPiece says, and no further than BLIP reads."""

import re
import unicodedata
from pathlib import Path

import pytest
import torch

from diffpref.rewards import SCORERS, LoadOptions, load_scorer
from diffpref.rewards.wordpiece import CONTEXT, WordPiece, load_wordpiece
from tests.rewards.tiny_blip import WORDS, write_vocabulary

CARD = SCORERS["imagereward"]
ROWS = len(WORDS) + 2
PROMPTS = (
    "two red circles",
    "Two RED circles, on the left!",
    "unable triangles",
    "caf\u00e9 tri\u00e1ngle",
    "a7b x-y it's",
    "",
    "\U0001f600 things \u4f60\u597d red",
    "x" * 101,
    "[SEP] red [DEC] [ENC] [dec]",
)


@pytest.fixture
def tokenizer(tmp_path: Path) -> WordPiece:
    write_vocabulary(tmp_path)
    return load_wordpiece(CARD, LoadOptions(published=False), weights=tmp_path, rows=ROWS)[0]


def naive(prompt: str) -> list[int]:
    """Cut into words, then each into its longest known beginnings, one after another."""
    known = {word: number for number, word in enumerate((*WORDS, "[DEC]", "[ENC]"))}
    special = re.compile(r"(\[(?:PAD|UNK|CLS|SEP|MASK|DEC|ENC)\])")
    found = [known["[CLS]"]]
    for piece in special.split(prompt):
        if special.fullmatch(piece):
            found.append(known[piece])
            continue
        plain = "".join(
            each
            for each in unicodedata.normalize("NFD", piece.lower())
            if unicodedata.category(each) != "Mn"
        )
        for word in re.findall(r"[\u4e00-\u9fff]|[^\W_\u4e00-\u9fff]+|[^\w\s]", plain):
            found += longest_first(word, known)
    return [*found, known["[SEP]"]]


def longest_first(word: str, known: dict[str, int]) -> list[int]:
    found: list[int] = []
    start = 0
    while start < len(word) <= 100:
        ahead = "##" if start else ""
        ends = [end for end in range(len(word), start, -1) if ahead + word[start:end] in known]
        if not ends:
            return [known["[UNK]"]]
        found.append(known[ahead + word[start : ends[0]]])
        start = ends[0]
    return found or [known["[UNK]"]]


def test_prompts_are_cut_as_a_naive_wordpiece_cuts_them(tokenizer: WordPiece) -> None:
    for prompt, row in zip(PROMPTS, tokenizer.ids(PROMPTS).tolist(), strict=True):
        told = naive(prompt)
        assert row == told + [0] * (CONTEXT - len(told)), prompt


def test_thirty_five_words_are_read_and_the_end_is_kept(tokenizer: WordPiece) -> None:
    fits, longer = " ".join(["red"] * 33), " ".join(["red"] * 34)
    assert tokenizer.overlong([fits, longer, ""]) == [False, True, False]
    rows = tokenizer.ids([fits, longer])
    assert rows.shape == (2, 35)
    assert rows[0].tolist() == rows[1].tolist()
    assert int(rows[1, -1]) == WORDS.index("[SEP]")


def test_a_long_prompt_is_flagged(weights_dir: Path) -> None:
    scorer = load_scorer("imagereward", weights_dir=weights_dir, published=False)
    found = scorer.score(torch.full((2, 3, 8, 8), 0.5), ["red", "red " * 40])
    assert found.flags == ((), ("truncated",))
    assert scorer.info.tokenizer_id == "bert-uncased/35"
