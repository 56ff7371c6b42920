"""What a vision-language model is shown of a person, and which of its numbers are read."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from PIL.Image import Image

Pooling = Literal["last", "mean"]

OPENING = "One person was shown pairs of pictures and chose one picture of each pair.\n"
PAIR = 'Pair {number} was asked for as "{prompt}".\nChosen: {picture}\nNot chosen: {picture}\n'
CLOSING = (
    "Say what this person looks for in a picture: its style, its quality, its mood and its "
    "composition.\nThis person:"
)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One choice as the model is shown it: the prompt, the chosen and the rejected picture."""

    prompt: str
    chosen: "Image"
    rejected: "Image"


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Which hidden state describes a person; part of an encoder's identity.

    Attributes:
        layer: of the hidden states; 0 is the embeddings, -1 the last layer.
        pooling: last: the last token's state; mean: of the words the model said, or of the whole
            conversation where it says nothing.
        words: tokens the model says about the person before its state is read, at most; the
            likeliest ones. 0 reads the end of the question.
        side: pixels of a picture's longer side, above which it is made smaller.
        dtype: precision of the model: fp32, bf16, fp16.
    """

    layer: int = -1
    pooling: Pooling = "last"
    words: int = 0
    side: int = 384
    dtype: Literal["fp32", "bf16", "fp16"] = "fp32"

    @property
    def plain(self) -> dict[str, Any]:
        """Return it as a file's header holds it."""
        return asdict(self)


def question(prompts: Sequence[str], picture: str) -> str:
    """Return what is asked about pairs, in which `picture` stands for each of their pictures."""
    pairs = [
        PAIR.format(number=number, prompt=prompt, picture=picture)
        for number, prompt in enumerate(prompts, start=1)
    ]
    return "".join([OPENING, *pairs, CLOSING])


def question_digest() -> str:
    """Return a hash of the words every person is asked about with."""
    return sha256("\0".join((OPENING, PAIR, CLOSING)).encode()).hexdigest()


def plain_words(prompt: str, special: Sequence[str]) -> str:
    """Return a prompt in which nothing is one of the tokenizer's special tokens.

    A prompt is text: one that spells a picture's token, or the end of a turn, is spelt apart.
    """
    for token in sorted((each for each in special if len(each) > 1), key=len, reverse=True):
        prompt = prompt.replace(token, f"{token[0]} {token[1:]}")
    return prompt
