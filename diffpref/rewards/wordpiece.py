"""BERT's uncased WordPiece tokenizer with BLIP's two words, from a vocabulary file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import BertTokenizer

from diffpref.errors import DataError
from diffpref.io import BadText, read_json
from diffpref.rewards.cards import Card
from diffpref.rewards.info import WeightRef
from diffpref.rewards.options import LoadOptions
from diffpref.rewards.resolve import MissingWeightsError, find
from diffpref.rewards.state import Stored

CONTEXT = 35
"""Words BLIP reads, [CLS] and [SEP] included; it was trained with no more."""

OWN = ("[DEC]", "[ENC]")
"""Words BLIP adds behind BERT's; a prompt that spells one out is read so."""

PUBLISHED = "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"
"""SHA-256 of vocab.txt of bert-base-uncased: 30,522 words, one a line, in UTF-8."""

OLD_REPO = "bert-base-uncased"
"""Where older programs kept the same files in the hub's cache."""

MAX_BYTES = 2**24
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_HINT = "give vocab.txt of google-bert/bert-base-uncased"


@dataclass(frozen=True)
class WordPiece:
    """Rows of [CLS] words [SEP], cut to 35 and filled with 0."""

    stock: BertTokenizer

    @property
    def id(self) -> str:
        return f"bert-uncased/{CONTEXT}"

    def ids(self, prompts: Sequence[str], /) -> Int[Tensor, "m l"]:
        found = self.stock(
            list(prompts),
            padding="max_length",
            max_length=CONTEXT,
            truncation=True,
            return_tensors="pt",
        )
        return torch.as_tensor(found["input_ids"])

    def overlong(self, prompts: Sequence[str], /) -> list[bool]:
        return [len(self.stock(text, verbose=False)["input_ids"]) > CONTEXT for text in prompts]


def load_wordpiece(
    card: Card, options: LoadOptions, *, weights: Path, rows: int
) -> tuple[WordPiece, tuple[WeightRef, ...]]:
    """Return the tokenizer of some weights, and the file its words came from.

    Args:
        card: whose part `vocabulary` is wanted.
        options: where to look.
        weights: the model's file or folder; the vocabulary may lie beside it.
        rows: words the model has embeddings for.

    Raises:
        MissingWeightsError: there is no vocabulary.
        DataError: it is damaged, or another model's.
    """
    path = find_vocabulary(card, options, weights)
    words = read_words(path)
    if options.published:
        text = "".join(f"{word}\n" for word in words)
        if sha256(text.encode()).hexdigest() != PUBLISHED:
            raise DataError("these are not the words of BERT uncased", where=str(path), hint=_HINT)
    if len(words) + len(OWN) != rows:
        what = f"{len(words):,} words and {len(OWN)} of BLIP are not the weights' {rows:,}"
        raise DataError(what, where=str(path), hint=_HINT)
    stock = BertTokenizer(vocab={word: number for number, word in enumerate(words)})
    stock.add_tokens(list(OWN), special_tokens=True)
    stored = Stored(state={}, files=(path,), config={}, where=str(path))
    return WordPiece(stock), stored.refs("wordpiece")


def find_vocabulary(card: Card, options: LoadOptions, weights: Path) -> Path:
    """Return the vocabulary file: given by name, beside the weights, or as any other part.

    Raises:
        MissingWeightsError: nowhere.
    """
    part = card.part("vocabulary")
    told = options.weights
    if not (isinstance(told, Mapping) and part.name in told):
        near = _inside(weights if weights.is_dir() else weights.parent, part.files)
        if near is not None:
            return near
    offline = replace(options, allow_download=False)
    for repo in (part.repo, OLD_REPO):
        try:
            return _file(find(card, replace(part, repo=repo), offline), part.files)
        except MissingWeightsError:
            continue
    return _file(find(card, part, options), part.files)


def read_words(path: Path) -> list[str]:
    """Return BERT's words by number, from vocab.txt or tokenizer.json; BLIP's own are left out.

    Raises:
        DataError: not a WordPiece vocabulary.
    """
    words = _from_json(path) if path.suffix == ".json" else _from_lines(path)
    if tuple(words[-len(OWN) :]) == OWN:
        words = words[: -len(OWN)]
    lost = [word for word in _SPECIAL if word not in words]
    if lost or words[0] != "[PAD]" or len(set(words)) != len(words):
        what = f"lacks {lost[0]}" if lost else "[PAD] is not first, or a word is there twice"
        raise DataError(f"is not BERT's vocabulary: {what}", where=str(path), hint=_HINT)
    return words


def _from_lines(path: Path) -> list[str]:
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise DataError("is too large for a vocabulary", where=str(path), hint=_HINT)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError("is not UTF-8", where=str(path), hint=_HINT) from error
    return text.replace("\r\n", "\n").removesuffix("\n").split("\n")


def _from_json(path: Path) -> list[str]:
    try:
        found = read_json(path)
    except BadText as error:
        raise DataError(f"cannot be read: {error}", where=str(path), hint=_HINT) from error
    model = found.get("model") if isinstance(found, dict) else None
    words = model.get("vocab") if isinstance(model, dict) else None
    if not isinstance(words, dict) or sorted(words.values()) != list(range(len(words))):
        raise DataError("holds no WordPiece vocabulary", where=str(path), hint=_HINT)
    return sorted(words, key=words.__getitem__)


def _inside(folder: Path, names: Sequence[str]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _file(found: Path, names: Sequence[str]) -> Path:
    """Return the vocabulary itself where a whole folder was found."""
    if not found.is_dir():
        return found
    inner = _inside(found, names)
    if inner is None:
        what = f"holds neither {' nor '.join(names)}"
        raise DataError(what, where=str(found), hint=_HINT)
    return inner
