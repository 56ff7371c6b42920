"""The door for the network: JSON sent to an endpoint the user named, and its JSON answer.

Imported by its own name, so that what only reads files does not load a network stack.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from http.client import HTTPException, HTTPResponse
from ipaddress import ip_address
from typing import cast
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
)

from diffpref.errors import HubError, UsageError
from diffpref.io.codes import BadText
from diffpref.io.text import parse_json

MAX_ANSWER = 16 * 2**20
LONGEST_WAIT = 60.0
_CHUNK = 2**16
_EXCERPT = 300
_TRY_AGAIN = {408, 425, 429, 500, 502, 503, 504}


class EndpointError(HubError):
    """An endpoint is out of reach, refuses, or answers something else than JSON."""


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long to wait. `timeout` bounds one try; between tries `first_wait` doubles; seconds."""

    timeout: float = 120.0
    retries: int = 4
    first_wait: float = 1.0


def post_json(
    url: str,
    body: Mapping[str, object],
    *,
    key: str | None = None,
    patience: Patience | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> object:
    """Send JSON and return the JSON of the answer.

    Tried again, with growing waits or the server's own `Retry-After`: no connection, no whole
    answer in time, and the codes 408, 425, 429, 500, 502, 503 and 504. Redirections are refused,
    this machine is reached without a proxy, an answer has at most 16 MiB.

    Args:
        url: where to.
        body: what to send.
        key: sent as bearer token; never part of a message.
        patience: how long to wait.
        sleep: waits, in seconds.

    Raises:
        UsageError: the address or the key cannot be used.
        EndpointError: no answer in the end, or none that is JSON.
    """
    patience = patience or Patience()
    local = check_address(url, key=key)
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    if key is not None:
        headers["Authorization"] = f"Bearer {key}"
    data = json.dumps(body, ensure_ascii=False, allow_nan=False).encode("utf-8")
    request = Request(url, data=data, headers=headers, method="POST")
    for attempt in range(patience.retries + 1):
        last = attempt == patience.retries
        try:
            return parse_json(_answer(request, patience.timeout, local), url, max_bytes=MAX_ANSWER)
        except BadText as error:
            raise _failed(url, f"it answered no JSON: {error.reason}") from error
        except HTTPError as error:
            if last or error.code not in _TRY_AGAIN:
                raise _failed(url, _refusal(error, key)) from None
            asked = error.headers.get("Retry-After", "")
            error.close()
        except (OSError, HTTPException) as error:
            if last:
                what = f"no answer after {attempt + 1} tries: {_reason(error)}"
                raise _failed(url, what) from None
            asked = ""
        wait = float(asked) if asked.isdecimal() else patience.first_wait * 2**attempt
        sleep(min(wait, LONGEST_WAIT))
    raise AssertionError("the last try returns or raises")


def check_address(url: str, *, key: str | None) -> bool:
    """Check where something is sent, and say whether it is this machine.

    Raises:
        UsageError: not http(s), a name and password in the address, a malformed key, or a key
            that would travel unencrypted to another machine.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        parts, host = urlsplit(""), ""
    where = f"{parts.scheme}://{host}"
    if parts.scheme not in ("http", "https") or not host:
        hint = "write for example http://127.0.0.1:8000/v1"
        raise UsageError("this is not the address of an endpoint", where=where, hint=hint)
    if parts.username is not None or parts.password is not None:
        hint = "put the key into an environment variable"
        raise UsageError("an address carries no password", where=where, hint=hint)
    local = _is_local(host)
    if key is None:
        return local
    if not (key.isascii() and key.isprintable()) or " " in key:
        hint = "copy it again, without line breaks"
        raise UsageError("the key holds characters no key has", where=where, hint=hint)
    if parts.scheme == "http" and not local:
        hint = "use https, a tunnel to this machine, or no key"
        raise UsageError("the key would travel unencrypted", where=where, hint=hint)
    return local


def _is_local(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@cache
def _opener(local: bool) -> OpenerDirector:
    """Return what opens http(s) and nothing else, and follows nowhere."""
    opener = OpenerDirector()
    for handler in (
        ProxyHandler({}) if local else ProxyHandler(),
        HTTPHandler(),
        HTTPSHandler(),
        HTTPDefaultErrorHandler(),
        HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener


def _answer(request: Request, timeout: float, local: bool) -> bytes:
    """Read an answer to its end; the timeout bounds the whole, however slowly it drips."""
    end = time.monotonic() + timeout
    with cast(HTTPResponse, _opener(local).open(request, timeout=timeout)) as response:
        data = bytearray()
        while chunk := response.read1(_CHUNK):
            data += chunk
            if len(data) > MAX_ANSWER:
                raise HTTPException(f"the answer is longer than {MAX_ANSWER} bytes")
            if time.monotonic() > end:
                raise TimeoutError(f"the answer did not end within {timeout:g} s")
        if response.length:
            raise HTTPException(f"the answer ended {response.length} bytes too early")
        return bytes(data)


def _refusal(error: HTTPError, key: str | None) -> str:
    """Return what the server said, without the key should it repeat it."""
    with error:
        said = error.read(_EXCERPT).decode("utf-8", errors="replace").strip()
    if 300 <= error.code < 400:
        said = "it points elsewhere, which is not followed; give the final address"
    return f"it refused with {error.code}: {said.replace(key, '***') if key else said}"


def _reason(error: Exception) -> str:
    return str(getattr(error, "reason", None) or error) or type(error).__name__


def _failed(url: str, what: str) -> EndpointError:
    hint = "check that the server runs and that its address and model name are right"
    return EndpointError(what, where=urlsplit(url)._replace(query="").geturl(), hint=hint)
