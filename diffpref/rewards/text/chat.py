"""A prompt and a response as the tokens of a conversation, by the tokenizer's own template.

Traps, and what is done about them:
    the template writes the start token and the tokenizer adds one more: kept once
    no template: refused, since any other format is not what the model was trained on
    the conversation is longer than the model reads: cut at its end and flagged
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffpref.errors import DataError

MOST_TOKENS = 4096
"""As the released code of ArmoRM and GPM; less where the model reads less."""


@dataclass(frozen=True, kw_only=True)
class Chat:
    """How a conversation becomes tokens.

    Attributes:
        tokenizer: transformers' own.
        longest: tokens kept.
        double_start: keep a second start token, for models that were trained with it.
    """

    tokenizer: Any
    longest: int = MOST_TOKENS
    double_start: bool = False

    def whole(self, prompt: str, response: str) -> list[int]:
        """Return the tokens of both turns, uncut."""
        return self._tokens([_turn("user", prompt), _turn("assistant", response)])

    def opening(self, prompt: str) -> list[int]:
        """Return the tokens of the prompt's turn alone, uncut."""
        return self._tokens([_turn("user", prompt)])

    def rows(self, prompts: Sequence[str], responses: Sequence[str]) -> list[list[int]]:
        """Return the tokens of each conversation, cut to what the model reads."""
        pairs = zip(prompts, responses, strict=True)
        return [self.whole(prompt, response)[: self.longest] for prompt, response in pairs]

    def overlong(self, prompts: Sequence[str], responses: Sequence[str]) -> list[bool]:
        """Return which conversations are cut."""
        pairs = zip(prompts, responses, strict=True)
        return [len(self.whole(prompt, response)) > self.longest for prompt, response in pairs]

    def _tokens(self, turns: list[dict[str, str]]) -> list[int]:
        text = self.tokenizer.apply_chat_template(turns, tokenize=False)
        found = list(self.tokenizer(text, verbose=False)["input_ids"])
        start = self.tokenizer.bos_token_id
        while start is not None and not self.double_start and found[:2] == [start, start]:
            found = found[1:]
        return found


def read_tokenizer(folder: Path) -> Any:
    """Return the tokenizer of a model's folder; no code of the folder is run.

    Raises:
        DataError: there is none that transformers knows.
    """
    import transformers

    try:
        return transformers.AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError, ImportError) as error:
        hint = "put tokenizer.json and tokenizer_config.json beside the weights"
        what = f"its tokenizer cannot be read: {str(error).splitlines()[0]}"
        raise DataError(what, where=str(folder), hint=hint) from error


def chat_of(folder: Path, reads: int, *, double_start: bool = False) -> Chat:
    """Return the conversation format of a model's folder.

    Args:
        folder: with the tokenizer.
        reads: most tokens the model has positions for.
        double_start: see `Chat`.

    Returns:
        The format, which keeps at most 4096 tokens.

    Raises:
        DataError: no tokenizer, or one without a template for conversations.
    """
    tokenizer = read_tokenizer(folder)
    if tokenizer.chat_template is None:
        hint = "put the chat_template.jinja the model was trained with beside its tokenizer"
        raise DataError("its tokenizer has no chat template", where=str(folder), hint=hint)
    longest = min(MOST_TOKENS, reads, int(tokenizer.model_max_length))
    return Chat(tokenizer=tokenizer, longest=longest, double_start=double_start)


def _turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}
