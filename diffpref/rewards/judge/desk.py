"""Asks a judge about pictures and remembers every answer, in memory and on the disk."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from logging import getLogger
from math import isnan
from pathlib import Path
from threading import Lock
from typing import Any, cast

from torch import Tensor

from diffpref.errors import DiskError
from diffpref.io import Journal
from diffpref.io.http import EndpointError
from diffpref.rewards.endpoint import Endpoint
from diffpref.rewards.judge.instructions import Instructions
from diffpref.rewards.pictures import picture_key, png_of
from diffpref.rewards.sight import Picture

PATH = "/chat/completions"
LONGEST_ANSWER = 20_000
SHOWN = 200

Key = tuple[str, ...]
"""The pictures' SHA-256, then the prompt."""


@dataclass(frozen=True)
class Question:
    """One or two pictures [3 y x], whose sizes may differ, and the prompt they are judged by."""

    pictures: tuple[Tensor, ...]
    prompt: str

    @property
    def key(self) -> Key:
        return (*(picture_key(picture) for picture in self.pictures), self.prompt)


class Desk:
    """Puts questions to one judge: the same question once, several at a time.

    Answers with a verdict are kept in a journal, so that a stopped run goes on where it was; one
    without is asked for again the next time. Files of different judges are different.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        instructions: Instructions,
        *,
        sampling: Mapping[str, Any],
        journal: Path | None,
    ) -> None:
        self._endpoint, self._instructions, self._sampling = endpoint, instructions, sampling
        self._journal = None if journal is None else Journal(journal)
        self._answers: dict[Key, str] | None = None
        self._lock = Lock()

    def verdicts(self, questions: Sequence[Question]) -> list[float]:
        """Return a verdict per question, NaN where the answer has none.

        Raises:
            EndpointError: the judge cannot be reached or answers in another form.
        """
        keys = [question.key for question in questions]
        with self._lock:
            answers = self._known()
        wanted = {k: q for k, q in zip(keys, questions, strict=True) if k not in answers}

        def ask(key: Key) -> None:
            reply = self._endpoint.ask(PATH, self._body(wanted[key]))
            with self._lock:
                answers[key] = _content(reply, self._endpoint.url)
                self._keep(key, answers[key])

        self._endpoint.together(ask, list(wanted))
        return [self._instructions.read(answers[key]) for key in keys]

    def reason(self, question: Question) -> str:
        """Return why a question has no verdict; empty if it has one."""
        answer = self._known().get(question.key, "")
        if not isnan(self._instructions.read(answer)):
            return ""
        return f"no verdict in the judge's answer: {answer[-SHOWN:]!r}"

    def _known(self) -> dict[Key, str]:
        if self._answers is None:
            rows = self._journal.read() if self._journal is not None else ()
            self._answers = dict(filter(None, map(_remembered, rows)))
        return self._answers

    def _keep(self, key: Key, answer: str) -> None:
        if self._journal is None or isnan(self._instructions.read(answer)):
            return
        try:
            self._journal.path.parent.mkdir(parents=True, exist_ok=True)
            self._journal.append({"images": key[:-1], "prompt": key[-1], "answer": answer})
        except (DiskError, OSError) as error:
            getLogger(__name__).warning("a judge's answer is not kept: %s", error)
            self._journal = None

    def _body(self, question: Question) -> dict[str, Any]:
        shown = [
            {"type": "image_url", "image_url": {"url": _data_url(picture)}}
            for picture in question.pictures
        ]
        said = {"type": "text", "text": self._instructions.about(question.prompt)}
        return {"messages": [{"role": "user", "content": [*shown, said]}], **self._sampling}


def _remembered(row: Mapping[str, object]) -> tuple[Key, str] | None:
    """Return a journal's line as question and answer; None for a line of another kind."""
    images, prompt, answer = row.get("images"), row.get("prompt"), row.get("answer")
    if not (isinstance(images, list) and isinstance(prompt, str) and isinstance(answer, str)):
        return None
    return (*map(str, images), prompt), answer


def _data_url(picture: Picture) -> str:
    return "data:image/png;base64," + b64encode(png_of(picture)).decode("ascii")


def _content(reply: object, url: str) -> str:
    """Return the text of an OpenAI-style reply; a refusal without text is empty."""
    try:
        content = cast(Any, reply)["choices"][0]["message"]["content"]
    except (KeyError, IndexError, TypeError) as error:
        what = "the answer is not that of a chat completion"
        hint = "give the base address of an OpenAI-compatible server; it ends in /v1"
        raise EndpointError(what, where=url, hint=hint) from error
    if isinstance(content, list):
        content = "\n".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return str(content or "")[-LONGEST_ANSWER:]
