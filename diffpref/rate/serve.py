"""Runs the rating page on this machine until the person has finished or Ctrl-C."""

import os
import socket
from collections.abc import Callable
from contextlib import suppress
from threading import Timer

import uvicorn

from diffpref.errors import UsageError
from diffpref.rate.gate import Gate, is_loopback
from diffpref.rate.server import Pages, make_app
from diffpref.rate.session import Session

PORT = 8420
LINGER = 1.0
"""Seconds between the last answer and the end of the server: the page may still load pictures."""


def listen(host: str, port: int | None) -> socket.socket:
    """Return a socket that listens.

    Args:
        host: an address or name of this machine.
        port: None is PORT, or any free one if that is taken; 0 any free one.

    Raises:
        UsageError: the port is taken, or the host is not this machine's.
    """
    try:
        return _bind(host, PORT if port is None else port)
    except OSError as error:
        if port is None:
            with suppress(OSError):
                return _bind(host, 0)
        hint = "choose another --port (0 is any free one), or leave --host out"
        what = f"cannot listen on port {port}: {error.strerror or error}"
        raise UsageError(what, where=f"--host {host}", hint=hint) from error


def require_allowed(host: str, expose: bool) -> None:
    """Refuse to listen where others can reach it, unless that is said in so many words.

    Raises:
        UsageError: it is not.
    """
    if is_loopback(host) or expose:
        return
    what = "others on the network could reach the page: whoever learns the link sees the pictures "
    what += "and votes, and nothing is encrypted on the way"
    hint = f"safer: ssh -L {PORT}:localhost:{PORT} THIS-MACHINE, and no --host; or add --expose"
    raise UsageError(what, where=f"--host {host}", hint=hint)


def serve(session: Session, bound: socket.socket, host: str, told: Callable[[str], None]) -> None:
    """Serve a session until it is over.

    Args:
        session: what is asked.
        bound: where to listen.
        host: by which name.
        told: given the link to open, once the server is about to answer.
    """
    gate = Gate(host=host, port=bound.getsockname()[1])
    holder: list[uvicorn.Server] = []

    def over() -> None:
        def end() -> None:
            holder[0].should_exit = True

        Timer(LINGER, end).start()

    app = make_app(Pages(session=session, gate=gate, over=over))
    holder.append(uvicorn.Server(_settings(app)))
    told(gate.link)
    # Ctrl-C is how a session usually ends: everything is on the disk already.
    with suppress(KeyboardInterrupt):
        holder[0].run(sockets=[bound])


def _settings(app: object) -> uvicorn.Config:
    return uvicorn.Config(
        app,  # pyright: ignore[reportArgumentType]
        log_level="error",
        access_log=False,  # the link with its token would stand in it
        server_header=False,
        proxy_headers=False,  # nobody stands in between; a header must not change who asks
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=2,
        limit_concurrency=64,
    )


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name != "nt":  # there it would let another program take the port over
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((host, port))
        found.listen(64)
    except OSError:
        found.close()
        raise
    return found
