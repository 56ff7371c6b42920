"""A server on this machine that answers JSON by a function of the request, and counts."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any

MOST = 10_000
"""Requests one server answers; more mean a test that asks without end."""


@dataclass
class Call:
    """A request that came."""

    path: str
    headers: Mapping[str, str]
    body: Any


@dataclass(frozen=True)
class Reply:
    """What is answered: JSON, or raw bytes."""

    body: object
    code: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Server:
    """A running server: its address and the requests so far, in order of arrival."""

    url: str
    calls: list[Call] = field(default_factory=list)


@contextmanager
def answering(reply: Callable[[Call], Reply]) -> Iterator[Server]:
    """Serve until the block ends."""
    server = Server("")
    http, thread = start(reply, server)
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


def start(reply: Callable[[Call], Reply], server: Server) -> tuple[ThreadingHTTPServer, Thread]:
    """Start serving from a thread that does not keep the process alive."""
    lock = Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["Content-Length"]))
            call = Call(self.path, dict(self.headers), json.loads(raw))
            with lock:
                server.calls.append(call)
                crowded = len(server.calls) > MOST
            self._send(Reply({}, 500) if crowded else reply(call))

        def _send(self, found: Reply) -> None:
            body = found.body if isinstance(found.body, bytes) else json.dumps(found.body).encode()
            self.send_response(found.code)
            for name, value in {"Content-Length": str(len(body)), **found.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            del format, args

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    server.url = f"http://127.0.0.1:{http.server_port}"
    thread = Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    return http, thread
