"""The network door: what is sent, what is tried again, what is refused, and what is never said."""

import socket
import traceback
from collections.abc import Callable

import pytest

from diffpref.errors import UsageError
from diffpref.io import http
from diffpref.io.http import EndpointError, Patience, check_address, post_json
from tests.answering import Call, Reply, answering

KEY = "sk-0123456789"
QUICK = Patience(timeout=5.0, retries=2, first_wait=0.5)


def in_turn(*replies: Reply) -> Callable[[Call], Reply]:
    rest = list(replies)
    return lambda _: rest.pop(0)


def test_json_goes_out_and_json_comes_back() -> None:
    with answering(lambda call: Reply({"echo": call.body})) as server:
        found = post_json(f"{server.url}/v1/x", {"a": "ü€", "b": [1, None]}, key=KEY)
    assert found == {"echo": {"a": "ü€", "b": [1, None]}}
    assert [call.path for call in server.calls] == ["/v1/x"]
    assert server.calls[0].headers["Authorization"] == f"Bearer {KEY}"
    assert server.calls[0].headers["Content-Type"] == "application/json"


def test_without_a_key_no_authorization_is_sent() -> None:
    with answering(lambda _: Reply(1)) as server:
        post_json(server.url, {})
    assert "Authorization" not in server.calls[0].headers


def test_a_busy_server_is_asked_again_with_growing_waits() -> None:
    waits: list[float] = []
    replies = in_turn(Reply({}, 503), Reply({}, 429, {"Retry-After": "7"}), Reply({"ok": 1}))
    with answering(replies) as server:
        assert post_json(server.url, {}, patience=QUICK, sleep=waits.append) == {"ok": 1}
    assert waits == [0.5, 7.0]
    waits.clear()
    with (
        answering(lambda _: Reply({}, 502, {"Retry-After": "86400"})) as server,
        pytest.raises(EndpointError, match="refused with 502"),
    ):
        post_json(server.url, {}, patience=QUICK, sleep=waits.append)
    assert (len(server.calls), waits) == (3, [60.0, 60.0])


def test_an_answer_that_breaks_off_is_asked_for_again() -> None:
    replies = in_turn(Reply(b'{"a": ', 200, {"Content-Length": "60"}), Reply({"a": 2}))
    with answering(replies) as server:
        assert post_json(server.url, {}, patience=QUICK, sleep=lambda _: None) == {"a": 2}


@pytest.mark.parametrize("code", [400, 401, 403, 404, 422])
def test_a_refusal_is_final_and_shown_without_the_key(code: int) -> None:
    with (
        answering(lambda _: Reply({"error": f"bad key {KEY}"}, code)) as server,
        pytest.raises(EndpointError, match=f"refused with {code}") as caught,
    ):
        post_json(server.url, {}, key=KEY)
    assert len(server.calls) == 1
    assert "bad key ***" in str(caught.value)
    assert KEY not in "".join(traceback.format_exception(caught.value))
    assert caught.value.exit_code == 9


def test_nobody_there_and_a_silent_server_give_up_in_time() -> None:
    waits: list[float] = []
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        brief = Patience(timeout=0.1, retries=1)
        with pytest.raises(EndpointError, match="no answer after 2 tries: timed out"):
            post_json(url, {}, patience=brief, sleep=waits.append)
    with pytest.raises(EndpointError, match="no answer after 2 tries"):
        post_json(url, {}, patience=brief, sleep=waits.append)
    assert waits == [1.0, 1.0]


def test_a_redirection_is_not_followed() -> None:
    with answering(lambda _: Reply({"stolen": True})) as other:
        moved = {"Location": f"{other.url}/x"}
        with (
            answering(lambda _: Reply({}, 307, moved)) as server,
            pytest.raises(EndpointError, match="points elsewhere"),
        ):
            post_json(server.url, {}, key=KEY)
    assert other.calls == []


def test_an_answer_that_is_no_json_or_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(lambda _: Reply(b"<html>")) as server:
        with pytest.raises(EndpointError, match="answered no JSON"):
            post_json(server.url, {})
        monkeypatch.setattr(http, "MAX_ANSWER", 4)
        with pytest.raises(EndpointError, match="longer than 4 bytes"):
            post_json(server.url, {}, patience=Patience(retries=0))


@pytest.mark.parametrize(
    ("url", "key", "message"),
    [
        ("file:///etc/passwd", None, "not the address of an endpoint"),
        ("ftp://example.org/x", None, "not the address of an endpoint"),
        ("127.0.0.1:8000", None, "not the address of an endpoint"),
        ("http://127.0.0.1:port", None, "not the address of an endpoint"),
        ("http://[::1", None, "not the address of an endpoint"),
        ("https://me:secret@example.org", None, "carries no password"),
        ("http://example.org/v1", KEY, "would travel unencrypted"),
        ("https://example.org/v1", f"{KEY}\r\nX: 1", "characters no key has"),
    ],
)
def test_addresses_and_keys_that_are_not_safe_are_refused(
    url: str, key: str | None, message: str
) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        post_json(url, {}, key=key)
    assert KEY not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_key_may_go_to_this_machine_or_over_https() -> None:
    assert check_address("http://localhost:1/v1", key=KEY)
    assert check_address("http://[::1]:1/v1", key=KEY)
    assert not check_address("https://example.org/v1", key=KEY)
    assert not check_address("http://example.org/v1", key=None)


def test_this_machine_is_reached_without_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    http._opener.cache_clear()
    with answering(lambda _: Reply([])) as server:
        assert post_json(server.url, {}) == []
    http._opener.cache_clear()
