"""Rendered pictures in a folder, a session on them, and a real server on loopback."""

import http.client
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from diffpref.io import png_bytes
from diffpref.rate import serve as serve_module
from diffpref.rate.book import JOURNAL, Book
from diffpref.rate.pair import Pair, Picture, picture_of
from diffpref.rate.plan import Plan
from diffpref.rate.pool import Pool, every_two
from diffpref.rate.serve import listen, serve
from diffpref.rate.session import Session
from diffpref.rate.taste import Taste
from diffpref.rewards import load_scorer
from diffpref.rewards.heads.embeddings import EmbeddingStore
from diffpref.rewards.pictures import pil_of
from diffpref.users import Prior, find_prior
from diffpref.world.captions import parse
from diffpref.world.render import render
from diffpref.world.scene import sample_scenes

PROMPTS = ("two red circles", "one blue square on the left", "three small triangles")


def draw(folder: Path, count: int = 9, seed: int = 0) -> list[tuple[str, Path]]:
    """Write pictures, PROMPTS in turn; return (prompt, file)."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = [PROMPTS[row % len(PROMPTS)] for row in range(count)]
    pixels = render(sample_scenes(seed, torch.arange(count), [parse(text) for text in texts]))
    found: list[tuple[str, Path]] = []
    for row, (text, each) in enumerate(zip(texts, pixels, strict=True)):
        path = folder / f"{row:02d}.png"
        path.write_bytes(png_bytes(pil_of(each), {"prompt": text}))
        found.append((text, path))
    return found


def pairs_of(drawn: list[tuple[str, Path]]) -> list[Pair]:
    groups: dict[str, list[Picture]] = {}
    for text, path in drawn:
        groups.setdefault(text, []).append(picture_of(path))
    return list(every_two(groups.items(), seed=0))


def lines(folder: Path) -> list[dict[str, Any]]:
    """Return the lines of a journal."""
    path = folder / JOURNAL
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine pictures, three of each prompt."""
    folder = tmp_path_factory.mktemp("pictures")
    draw(folder)
    return folder


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> list[Pair]:
    """Every two of nine pictures that share a prompt: nine pairs."""
    return pairs_of(draw(tmp_path_factory.mktemp("pairs")))


@pytest.fixture(scope="session")
def prior() -> Prior:
    return find_prior("bt-world")


@pytest.fixture(scope="session")
def new_store(
    prior: Prior, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[], EmbeddingStore]:
    """Return what opens one cache of embeddings again and again."""
    embedder = load_scorer(prior.embedder.scorer)
    cache = tmp_path_factory.mktemp("cache")
    return lambda: EmbeddingStore(cache, embedder)


@pytest.fixture(scope="session")
def new_taste(prior: Prior, new_store: Callable[[], EmbeddingStore]) -> Callable[[], Taste]:
    """Return a maker of tastes that share one cache."""
    return lambda: Taste(prior, new_store())


@pytest.fixture
def new_session(tmp_path: Path, pairs: list[Pair]) -> Callable[..., Session]:
    """Return a maker of sessions that write to tmp_path/out, one after another."""
    books: list[Book] = []

    def make(plan: Plan | None = None, *, user: str | None = None, **more: Any) -> Session:
        while books:
            books.pop().close()
        books.append(Book(tmp_path / "out", user=user))
        taste = more.get("taste")
        pool = Pool() if taste is None else Pool(check=taste.see)
        pool.add(pairs)
        return Session(books[0], pool, plan or Plan(), **more)

    return make


@dataclass(frozen=True, kw_only=True)
class Server:
    """A server, and a client that a browser would be; its session if it is in this process."""

    link: str
    running: Session | None = None

    @property
    def session(self) -> Session:
        assert self.running is not None
        return self.running

    @property
    def port(self) -> int:
        return int(re.findall(r":(\d+)/", self.link)[0])

    @property
    def token(self) -> str:
        return self.link.partition("token=")[2]

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Send one request with these headers only, beside Host and Content-Length."""
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            plain = {name.replace("_", "-"): value for name, value in headers.items()}
            link.request(method, path, body=body, headers=plain)
            answer = link.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, found, answer.read()
        finally:
            link.close()

    def cookie(self) -> str:
        """Open the link and return the cookie."""
        _, headers, _ = self.ask("GET", f"/?token={self.token}")
        return headers["set-cookie"].partition(";")[0]

    def post(self, path: str, body: object) -> tuple[int, Any]:
        """Send what the page would send."""
        status, _, data = self.ask(
            "POST",
            path,
            json.dumps(body).encode(),
            cookie=self.cookie(),
            origin=self.origin,
            content_type="application/json",
        )
        return status, json.loads(data)


@contextmanager
def servers() -> Iterator[Callable[[Session], Server]]:
    """Give what serves a session on a free port of loopback until the block ends."""
    running: list[tuple[Server, threading.Thread]] = []

    def start(session: Session) -> Server:
        bound, told = listen("127.0.0.1", 0), list[str]()
        ready = threading.Event()

        def tell(link: str) -> None:
            told.append(link)
            ready.set()

        told_by = (session, bound, "127.0.0.1", tell)
        thread = threading.Thread(target=serve, args=told_by, daemon=True)
        thread.start()
        assert ready.wait(20)
        server = Server(link=told[0], running=session)
        running.append((server, thread))
        return server

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(serve_module, "LINGER", 0.01)
        yield start
        for server, thread in running:
            with suppress(OSError):  # it may have ended already
                server.post("/api/finish", {})
            thread.join(20)
            assert not thread.is_alive()


@pytest.fixture
def new_server() -> Iterator[Callable[[Session], Server]]:
    """Return what serves a session until the test ends."""
    with servers() as start:
        yield start
