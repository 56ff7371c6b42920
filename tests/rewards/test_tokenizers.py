"""CLIP's token ids against transformers' own tokenizer, read from the files of the hub's layout."""

import json
from typing import Any

import pytest
import torch
from open_clip.tokenizer import SimpleTokenizer
from transformers import AutoTokenizer, CLIPTokenizer

from diffpref.assets import builtin
from diffpref.rewards.open_clip_folder import FolderTokenizer
from diffpref.rewards.tokenizers import END, START, HubTokenizer, OpenClipTokenizer

HUNDRED = " ".join(("a red cat on two blue discs near 7 trees " * 10).split())
SPECIAL = [
    "a <|endoftext|> cat",
    "<|startoftext|>a cat",
    "a cat<|endoftext|>",
    "<|endoftext|><|endoftext|>",
    f"<|endoftext|> {HUNDRED}",
]
PROMPTS = [HUNDRED, *SPECIAL, "", "  A   Cat ", "it's 12 o'clock", "日本語 🎉"]

GOLDEN: dict[str, tuple[list[int], list[int] | None]] = {
    "a cat": ([320, 2368], None),
    "A CAT &amp; dog": ([320, 2368, 261, 1929], [320, 2368, 261, 6259, 282, 1929]),
    "“curly” quotes": ([257, 20795, 257, 5808], [728, 506, 20795, 728, 507, 5808]),
    "": ([], None),
    "it's 12 o'clock": ([585, 568, 272, 273, 334, 262, 6716], None),
    "日本語 🎉": ([39121, 44353, 34002, 508, 3986], None),
    "  two   spaces\tand\nlines ": ([1237, 9006, 537, 3418], None),
    "café naïve": ([15304, 1097, 35689, 563], None),
    "cafÃ©": ([15304], [3471, 127, 352, 5811]),
    "&lt;b&gt;bold&lt;/b&gt;": (
        [283, 321, 285, 8911, 34308, 321, 285],
        [261, 3333, 282, 321, 261, 4725, 282, 8911, 261, 3333, 26, 270, 321, 261, 4725, 282],
    ),
    "a <|endoftext|> cat": ([320, 27, 347, 40786, 4160, 91, 285, 2368], [320, 49407, 2368]),
    "a <end_of_text> cat": ([320, 49407, 2368], [320, 283, 806, 318, 539, 318, 4160, 285, 2368]),
    "l\u2019été… — ½": (
        [331, 262, 3459, 39694, 959, 2005, 33613],
        [331, 728, 503, 3459, 39694, 959, 2005, 33613],
    ),
    "3.14159 #hash @at $5": (
        [274, 269, 272, 275, 272, 276, 280, 258, 19199, 287, 536, 259, 276],
        None,
    ),
    "🏳️‍🌈 👩‍🚀": ([32610, 26304, 13542], None),
}
"""By prompt, the ids between start and end: by open_clip 3.3.0, and by the fast tokenizer of
transformers 4.57.6 where they differ. The slow one of 4.57.6 with ftfy agrees with open_clip on all
but literal special tokens."""


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """transformers' tokenizer of a folder laid out as openai/clip-vit-large-patch14 is."""
    folder = tmp_path_factory.mktemp("clip")
    words = SimpleTokenizer()
    names = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    vocabulary = {names.get(word, word): number for word, number in words.encoder.items()}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    merges = sorted(words.bpe_ranks, key=words.bpe_ranks.__getitem__)
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    told = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77}
    (folder / "tokenizer_config.json").write_text(json.dumps(told))
    return CLIPTokenizer.from_pretrained(folder)


def rows(stock: Any, prompts: list[str], **options: Any) -> torch.Tensor:
    return stock(
        prompts, padding="max_length", truncation=True, return_tensors="pt", **options
    ).input_ids


def test_the_hub_layout_gives_transformers_ids_for_long_and_special_prompts(stock: Any) -> None:
    ours = HubTokenizer().ids(PROMPTS)
    assert torch.equal(ours, rows(stock, PROMPTS))
    assert len(HUNDRED.split()) == 100
    assert ours[0, 0] == START
    assert ours[0, -1] == END
    assert (ours[0, 1:-1] < START).all()
    inside = ours[PROMPTS.index("a <|endoftext|> cat")]
    assert inside[:5].tolist() == [START, 320, END, 2368, END]  # a real end in the middle


def test_token_ids_are_the_recorded_ones() -> None:
    openclip, hub = OpenClipTokenizer().ids([*GOLDEN]), HubTokenizer().ids([*GOLDEN])
    assert openclip.shape == hub.shape == (len(GOLDEN), 77)
    for row, (prompt, (theirs, other)) in enumerate(GOLDEN.items()):
        for ids, words, filler in ((openclip, theirs, 0), (hub, other or theirs, END)):
            told = [START, *words, END]
            assert ids[row].tolist() == told + [filler] * (77 - len(told)), prompt


def test_open_clips_layout_reads_a_literal_special_token_as_text(stock: Any) -> None:
    # transformers parts two such tokens even as text, where open_clip reads "|><|" as one mark
    prompts = [prompt for prompt in PROMPTS if "><" not in prompt]
    ours = OpenClipTokenizer().ids(prompts)
    theirs = rows(stock, prompts, split_special_tokens=True)
    last = (theirs == END).long().argmax(dim=1)
    assert ((ours == END).sum(dim=1) == 1).all()
    for row, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
        end = int(last[row])
        assert torch.equal(mine[: end + 1], other[: end + 1]), prompts[row]
        assert (mine[end + 1 :] == 0).all()


def test_what_does_not_fit_is_told_by_every_layout(stock: Any) -> None:
    for tokenizer in (HubTokenizer(), OpenClipTokenizer()):
        flags = tokenizer.overlong(PROMPTS)
        assert [PROMPTS[row] for row, cut in enumerate(flags) if cut] == [HUNDRED, SPECIAL[-1]]
    lengths = [len(stock(prompt, verbose=False).input_ids) > 77 for prompt in PROMPTS]
    assert HubTokenizer().overlong(PROMPTS) == lengths


def test_the_bundled_folder_gives_transformers_ids_for_long_and_special_prompts() -> None:
    stock: Any = AutoTokenizer.from_pretrained(builtin("builtin:reward"))
    ours = FolderTokenizer(CLIPTokenizer.from_pretrained(builtin("builtin:reward")))
    found = ours.ids(PROMPTS)
    assert torch.equal(found, rows(stock, PROMPTS))
    assert found.shape == (len(PROMPTS), stock.model_max_length)
    assert found[0, -1] == stock.eos_token_id
    inside = found[PROMPTS.index("<|endoftext|><|endoftext|>")]
    assert set(inside[1:].tolist()) == {stock.eos_token_id}
    lengths = [len(stock(p, verbose=False).input_ids) > stock.model_max_length for p in PROMPTS]
    assert ours.overlong(PROMPTS) == lengths
    assert lengths[0]
