"""A stand-in for a vision-language model: it looks at the pixels and at the prompt it was sent."""

from base64 import b64decode
from functools import cache

import numpy as np

from diffpref.io import open_image
from tests.answering import Call, Reply, Server, start

HEAD = "data:image/png;base64,"


def pictures_of(call: Call) -> list[np.ndarray]:
    """Return the pictures of a request as arrays of 8-bit pixels, in order."""
    (message,) = call.body["messages"]
    urls = [part["image_url"]["url"] for part in message["content"] if "image_url" in part]
    assert all(url.startswith(HEAD) for url in urls)
    files = [b64decode(url.removeprefix(HEAD), validate=True) for url in urls]
    return [np.asarray(open_image(file, where="judge")) for file in files]


def text_of(call: Call) -> str:
    """Return the text of a request, which stands last."""
    (message,) = call.body["messages"]
    assert message["role"] == "user"
    return message["content"][-1]["text"]


def prompt_of(call: Call) -> str:
    """Return the second line: in our instructions it is the prompt."""
    return text_of(call).split("\n")[1]


def said(answer: str) -> Reply:
    """Return an answer as an OpenAI-compatible server gives it."""
    return Reply({"choices": [{"message": {"role": "assistant", "content": answer}}]})


def brightness_of(picture: np.ndarray) -> float:
    return float(picture.mean()) / 255


def bright_is_good(call: Call) -> Reply:
    """Like bright pictures and long prompts."""
    (picture,) = pictures_of(call)
    value = 9 * brightness_of(picture) + min(len(prompt_of(call)), 100) / 100
    return said(f"The light decides.\n**Score:** {value:.6f}")


@cache
def standing_judge() -> Server:
    """Return a server that lives as long as the process."""
    server = Server("")
    start(bright_is_good, server)
    return server
