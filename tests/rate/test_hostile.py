"""Requests that other sites, programs and people might send: all refused, and nothing written."""

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from diffpref.rate.book import Book
from diffpref.rate.gate import POLICY, Gate, is_loopback
from diffpref.rate.pair import Pair
from diffpref.rate.plan import Plan
from diffpref.rate.pool import Pool
from diffpref.rate.session import Session
from tests.rate.conftest import Server, lines, servers

EVIL = "http://evil.example"


@dataclass(frozen=True, kw_only=True)
class Shot:
    """A request with what a browser of the right person would send, changed by one attack.

    A header of None is left out; {port}, {cookie}, {nonce} and {name} are filled in.
    """

    method: str = "POST"
    path: str = "/api/answer"
    body: bytes = b'{"nonce": "{nonce}", "choice": "left"}'
    headers: dict[str, str | None] = field(default_factory=dict[str, str | None])
    more: tuple[str, ...] = ()
    status: tuple[int, ...] = (403,)


def get(path: str, status: int, **headers: str | None) -> Shot:
    return Shot(method="GET", path=path, body=b"", headers=headers, status=(status,))


def post(status: int, **headers: str | None) -> Shot:
    return Shot(headers=headers, status=(status,))


def said(body: bytes, status: int = 400) -> Shot:
    return Shot(body=body, status=(status,))


PICTURE = "/image/{name}"
DEEP = b"[" * 2000 + b"]" * 2000

SHOTS: dict[str, Shot] = {
    # a name that was rebound to this address, or a proxy's
    "host of another site": post(421, host="evil.example:{port}"),
    "host without a port": post(421, host="127.0.0.1"),
    "host with another port": post(421, host="127.0.0.1:1"),
    "host that only begins like ours": post(421, host="127.0.0.1.evil.example:{port}"),
    "host that only ends like ours": post(421, host="evil-localhost:{port}"),
    "host with a user": post(421, host="localhost@evil.example:{port}"),
    "host in capitals of another site": get(PICTURE, 421, host="EVIL.EXAMPLE:{port}"),
    "rebound host asks for a picture": get(PICTURE, 421, host="evil.example:{port}"),
    "rebound host opens the page": get("/", 421, host="evil.example:{port}"),
    "no host": Shot(headers={"host": None}, status=(400, 421)),
    "two hosts": Shot(more=("Host: evil.example",), status=(400, 421)),
    "forwarded host": post(421, host="evil.example:{port}", x_forwarded_host="127.0.0.1:{port}"),
    # no token, or another one
    "no cookie": post(403, cookie=None),
    "empty cookie": post(403, cookie="diffpref_rate_{port}="),
    "guessed cookie": post(403, cookie="diffpref_rate_{port}=" + "A" * 43),
    "cookie of another port": post(403, cookie="diffpref_rate_1={secret}"),
    "cookie in a header of its own": post(403, cookie=None, authorization="Bearer {secret}"),
    "page without a token": get("/", 403, cookie=None),
    "page with a guessed token": get("/?token=AAAA", 403, cookie=None),
    "page with two tokens": get("/?token=AAAA&token={token}", 403, cookie=None),
    "page with the cookie for a token": get("/?token={secret}", 403, cookie=None),
    "token on another path": get("/api/state?token={token}", 403, cookie=None),
    "picture without a cookie": get(PICTURE, 403, cookie=None),
    "script without a cookie": get("/rate.js", 403, cookie=None),
    "state without a cookie": get("/api/state", 403, cookie=None),
    # from another site, with the person's own cookie
    "origin of another site": post(403, origin=EVIL),
    "null origin": post(403, origin="null"),
    "origin of another port": post(403, origin="http://127.0.0.1:1"),
    "origin of another scheme": post(403, origin="https://127.0.0.1:{port}"),
    "origin by another name of ours": post(403, origin="http://localhost:{port}"),
    "no origin": post(403, origin=None),
    "two origins": Shot(more=(f"Origin: {EVIL}",)),
    "cross-site by Sec-Fetch-Site": post(403, sec_fetch_site="cross-site"),
    "same-site by Sec-Fetch-Site": post(403, sec_fetch_site="same-site"),
    "picture for another site": get(PICTURE, 403, sec_fetch_site="cross-site"),
    "state for another site": get("/api/state", 403, origin=EVIL),
    "page framed by another site": get("/", 403, sec_fetch_site="cross-site"),
    # what forms and other clients send
    "a form": post(415, content_type="application/x-www-form-urlencoded"),
    "a form that looks like JSON": post(415, content_type="text/plain"),
    "a multipart form": post(415, content_type="multipart/form-data; boundary=x"),
    "no content type": post(415, content_type=None),
    "two content types": Shot(more=("Content-Type: text/plain",), status=(415,)),
    "a body of 10 MB": said(b" " * 10_000_000, 413),
    "a body that says it is 10 MB": post(413, content_length="10000000"),
    "a length of 5,000 digits": Shot(headers={"content_length": "9" * 5000}, status=(400, 413)),
    "a negative length": Shot(headers={"content_length": "-1"}, status=(400, 411)),
    "no length": Shot(headers={"content_length": None, "transfer_encoding": "chunked"},
                      body=b"26\r\n" + b" " * 38 + b"\r\n0\r\n\r\n", status=(411,)),
    "no JSON": said(b"nonce=1&choice=left"),
    "not UTF-8": said(b'{"nonce": "\xff", "choice": "left"}'),
    "JSON of another shape": said(b'["{nonce}", "left"]'),
    "a key twice": said(b'{"nonce": "{nonce}", "nonce": "x", "choice": "left"}'),
    "a key more": said(b'{"nonce": "{nonce}", "choice": "left", "user": "eve"}'),
    "a number for a text": said(b'{"nonce": 1, "choice": "left"}'),
    "deep nesting": said(DEEP),
    "another choice": said(b'{"nonce": "{nonce}", "choice": "both"}', 409),
    "a nonce nobody gave": said(b'{"nonce": "0123456789abcdef", "choice": "left"}', 409),
    "an answer by GET": get("/api/answer?nonce={nonce}&choice=left", 405),
    "PUT": Shot(method="PUT", status=(405,)),
    "DELETE": Shot(method="DELETE", status=(405,)),
    "OPTIONS, a preflight": Shot(method="OPTIONS", headers={"origin": EVIL}),
    "TRACE": Shot(method="TRACE", status=(405,)),
    "an unknown action": Shot(path="/api/shell", status=(404,)),
    "undo of nothing": Shot(path="/api/undo", body=b'{"nonce": "{nonce}"}', status=(409,)),
    "a showing without a model": Shot(
        path="/api/show", body=b'{"prompt": "a"}', status=(409,)
    ),
    # paths out of the page
    "dots": get("/../../etc/passwd", 404),
    "dots in a picture's name": get("/image/../../../etc/passwd", 404),
    "encoded dots": get("/image/..%2f..%2f..%2fetc%2fpasswd", 404),
    "encoded twice": get("/image/..%252f..%252fetc%252fpasswd", 404),
    "backslashes": get("/image/..%5c..%5cetc%5cpasswd", 404),
    "an absolute path": get("/image//etc/passwd", 404),
    "an absolute address": get(f"{EVIL}/image/x", 404),
    "a NUL": get("/image/{name}%00.png", 404),
    "a drive": get("/image/C:%5cWindows%5cwin.ini", 404),
    "the journal": get("/journal.jsonl", 404),
    "the page's folder": get("/page/index.html", 404),
    "a source file": get("/rate.js/../server.py", 404),
    "a guessed picture": get("/image/AAAAAAAAAAAAAAAA", 404),
}  # fmt: skip


@pytest.fixture
def server(new_session: Callable[..., Session], new_server: Callable[[Session], Server]) -> Server:
    return new_server(new_session())


@dataclass(frozen=True, kw_only=True)
class Target:
    """A server that every attack is sent to, and where it would write."""

    server: Server
    out: Path


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory, pairs: list[Pair]) -> Iterator[Target]:
    out = tmp_path_factory.mktemp("hostile")
    pool = Pool()
    pool.add(pairs)
    with servers() as start:
        yield Target(server=start(Session(Book(out), pool, Plan())), out=out)


def filled(text: str, server: Server, cookie: str) -> str:
    question = server.session.state()["question"]
    for name, value in {
        "port": str(server.port),
        "cookie": cookie,
        "secret": cookie.partition("=")[2],
        "token": server.token,
        "nonce": question["nonce"],
        "name": question["left"]["src"].removeprefix("image/"),
    }.items():
        text = text.replace(f"{{{name}}}", value)
    return text


def fire(server: Server, shot: Shot) -> bytes:
    """Send a request byte by byte as told, and return all that comes back."""
    cookie = server.cookie()
    body = filled(shot.body.decode("latin-1"), server, cookie).encode("latin-1")
    headers: dict[str, str | None] = {
        "host": "127.0.0.1:{port}",
        "cookie": cookie,
        "connection": "close",
    }
    if shot.method != "GET":
        headers |= {
            "origin": "http://127.0.0.1:{port}",
            "content_type": "application/json",
            "content_length": str(len(body)),
        }
    headers |= shot.headers
    rows = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items() if value]
    head = "\r\n".join([f"{shot.method} {shot.path} HTTP/1.1", *rows, *shot.more, "", ""])
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as link:
        with suppress(OSError):  # refused before the end, as it should be
            link.sendall(filled(head, server, cookie).encode("latin-1") + body)
        found = b""
        with suppress(ConnectionResetError):
            while part := link.recv(2**16):
                found += part
    return found


@pytest.mark.parametrize("name", SHOTS)
def test_a_hostile_request_is_refused_and_writes_nothing(name: str, target: Target) -> None:
    answer = fire(target.server, SHOTS[name])
    status = int(answer.split(b" ", 2)[1]) if answer else 0
    assert status in SHOTS[name].status, answer[:400]
    assert lines(target.out) == []
    assert b"\x89PNG" not in answer
    assert b"root:" not in answer
    secret = target.server.cookie().partition("=")[2].encode()
    assert secret not in answer
    assert b"access-control-allow" not in answer.lower()


def test_there_are_forty_of_them_and_the_same_request_unchanged_passes(
    server: Server, tmp_path: Path
) -> None:
    assert len(SHOTS) >= 40
    answer = fire(server, Shot())
    assert answer.startswith(b"HTTP/1.1 200"), answer[:400]
    assert len(lines(tmp_path / "out")) == 1
    picture = fire(server, get(PICTURE, 200))
    assert b"\x89PNG" in picture


def test_an_answer_recorded_and_sent_again_is_refused_or_changes_nothing(
    server: Server, tmp_path: Path
) -> None:
    nonce = server.session.state()["question"]["nonce"]
    assert server.post("/api/answer", {"nonce": nonce, "choice": "left"})[0] == 200
    assert server.post("/api/answer", {"nonce": nonce, "choice": "left"})[0] == 200
    assert server.post("/api/answer", {"nonce": nonce, "choice": "right"})[0] == 409
    assert len(lines(tmp_path / "out")) == 1


def test_every_answer_carries_the_policy(server: Server) -> None:
    cookie = server.cookie()
    for path in ("/", "/rate.js", "/api/state", "/image/none", "/none"):
        _, headers, _ = server.ask("GET", path, cookie=cookie)
        assert {name: headers.get(name) for name in POLICY} == POLICY, path
    _, headers, _ = server.ask("GET", "/")
    assert {name: headers.get(name) for name in POLICY} == POLICY
    assert "default-src 'none'" in POLICY["content-security-policy"]
    assert "unsafe" not in POLICY["content-security-policy"]
    assert "server" not in headers


def test_the_cookie_is_for_this_site_only_and_not_for_scripts(server: Server) -> None:
    _, headers, _ = server.ask("GET", f"/?token={server.token}")
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(headers["set-cookie"].split("; "))
    assert server.token not in headers["set-cookie"]
    _, headers, _ = server.ask("GET", "/", cookie=server.cookie())
    assert "set-cookie" not in headers


def test_the_link_may_be_followed_from_another_page_but_not_fetched(server: Server) -> None:
    path = f"/?token={server.token}"
    for mode, status in (("navigate", 200), ("no-cors", 403)):
        found = server.ask("GET", path, sec_fetch_site="cross-site", sec_fetch_mode=mode)
        assert found[0] == status


def test_pictures_are_served_without_what_their_files_say_of_them(server: Server) -> None:
    question = server.session.state()["question"]
    status, headers, data = server.ask("GET", f"/{question['left']['src']}", cookie=server.cookie())
    assert (status, headers["content-type"]) == (200, "image/png")
    assert b"prompt" not in data
    assert b"tEXt" not in data
    assert b"iTXt" not in data


def test_tokens_are_long_random_and_never_shown() -> None:
    gates = [Gate(host="127.0.0.1", port=1) for _ in range(50)]
    secrets = {gate.token for gate in gates} | {gate.cookie for gate in gates}
    assert len(secrets) == 100
    assert min(map(len, secrets)) >= 43
    assert gates[0].token not in repr(gates[0])
    assert gates[0].cookie not in repr(gates[0])


@pytest.mark.parametrize(
    ("host", "said", "known"),
    [
        ("127.0.0.1", "localhost:9", True),
        ("127.0.0.1", "LOCALHOST:9", True),
        ("127.0.0.1", "[::1]:9", True),
        ("127.0.0.1", "192.168.1.7:9", False),
        ("192.168.1.7", "192.168.1.7:9", True),
        ("192.168.1.7", "192.168.1.8:9", False),
        ("0.0.0.0", "192.168.1.7:9", True),
        ("0.0.0.0", "rebound.example:9", False),
        ("::", "[fe80::1]:9", True),
        ("::1", "[::1]:9", True),
        ("127.0.0.1", "[::1]", False),
        ("127.0.0.1", "", False),
    ],
)
def test_only_addresses_and_the_name_in_the_link_are_known_hosts(
    host: str, said: str, known: bool
) -> None:
    gate = Gate(host=host, port=9)
    headers = [("host", said), ("cookie", f"{gate.cookie_name}={gate.cookie}")]
    refusal = gate.refusal("GET", "/api/state", "", headers)
    assert (refusal is None) == known


def test_cookies_of_other_servers_do_no_harm() -> None:
    gate = Gate(host="127.0.0.1", port=9)
    mine = f"{gate.cookie_name}={gate.cookie}"
    for others in ('a="x; y', "odd cookie", "k=v=w", "{bad}"):
        headers = [("host", "127.0.0.1:9"), ("cookie", f"{others}; {mine}")]
        assert gate.refusal("GET", "/", "", headers) is None, others


@pytest.mark.parametrize(
    ("host", "loop"),
    [("127.0.0.1", True), ("127.8.0.1", True), ("::1", True), ("localhost", True),
     ("0.0.0.0", False), ("10.0.0.1", False), ("example.org", False), ("::", False)],
)  # fmt: skip
def test_loopback_is_recognised(host: str, loop: bool) -> None:
    assert is_loopback(host) == loop


def test_the_page_asks_nobody_else_for_anything() -> None:
    folder = Path(__file__).parents[2] / "diffpref" / "rate" / "page"
    for name in ("index.html", "rate.js", "rate.css"):
        text = (folder / name).read_text(encoding="utf-8")
        assert "//" not in text.replace("// ", ""), name
        assert "innerHTML" not in text
        assert "style=" not in text
        assert " on" + "click" not in text
    assert json.dumps(sorted(path.name for path in folder.iterdir())) == (
        '["icon.svg", "index.html", "rate.css", "rate.js"]'
    )
