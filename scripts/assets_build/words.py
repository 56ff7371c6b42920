"""The tokenizer of the bundled world: CLIP's byte-level format, one token per word."""

from collections import Counter
from itertools import pairwise

from transformers import CLIPTokenizer

from diffpref.world.captions import PLACES
from diffpref.world.scene import ATTRIBUTES

CONTEXT = 24
"""Tokens per caption, start and end included; the longest caption has 15 words."""

START, END = "<|startoftext|>", "<|endoftext|>"


def vocabulary() -> list[str]:
    """Return every word a caption may hold."""
    values = {value for known in ATTRIBUTES.values() for value in known}
    plurals = {f"{shape}s" for shape in (*ATTRIBUTES["shape"], "thing")}
    phrases = {word for phrase in PLACES.values() for word in phrase.split()}
    return sorted(values | plurals | phrases | {"some", "thing", "on", "a", "background"})


def make_tokenizer() -> CLIPTokenizer:
    """Learn byte-pair merges until each word is one token."""
    letters = _byte_letters()
    merges = _merges(vocabulary())
    pieces = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(m) for m in merges)]
    tokens = {piece: index for index, piece in enumerate([*pieces, START, END])}
    return CLIPTokenizer(vocab=tokens, merges=merges, model_max_length=CONTEXT)


def _merges(words: list[str]) -> list[tuple[str, str]]:
    split = [[*word[:-1], f"{word[-1]}</w>"] for word in words]
    merges: list[tuple[str, str]] = []
    while any(len(parts) > 1 for parts in split):
        pairs = Counter(pair for parts in split for pair in pairwise(parts))
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        split = [_apply(parts, best) for parts in split]
    return merges


def _apply(parts: list[str], pair: tuple[str, str]) -> list[str]:
    merged: list[str] = []
    for part in parts:
        if merged and (merged[-1], part) == pair:
            merged[-1] += part
        else:
            merged.append(part)
    return merged


def _byte_letters() -> list[str]:
    """Return the printable stand-in of each of the 256 bytes, as byte-level BPE defines it."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return [chr(b) for b in shown] + [chr(256 + i) for i in range(len(hidden))]
