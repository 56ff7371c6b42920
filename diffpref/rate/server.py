"""The rating page over HTTP: one page, its pictures by opaque names, and a few JSON answers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from diffpref.data.validate import Fault, prompt_text
from diffpref.errors import DiffprefError
from diffpref.io import BadImage, BadText, parse_json
from diffpref.rate.gate import MAX_BODY, PAGE, POLICY, Gate, Refusal
from diffpref.rate.plan import Plain, Refused
from diffpref.rate.session import Session

FILES: Mapping[str, str] = {
    "rate.js": "text/javascript; charset=utf-8",
    "rate.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
LONGEST = 400
"""Characters of a prompt typed on the page."""

_FOLDER = Path(__file__).resolve().parent / "page"


@dataclass(frozen=True, kw_only=True)
class Guarded:
    """ASGI middleware that asks the gate first and gives every answer its headers."""

    app: ASGIApp
    gate: Gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                more = [(key.encode(), value.encode()) for key, value in POLICY.items()]
                message["headers"] = [*message.get("headers", []), *more]
            await send(message)

        headers = [
            (key.decode("latin-1"), each.decode("latin-1")) for key, each in scope["headers"]
        ]
        query = scope["query_string"].decode("latin-1")
        refusal = self.gate.refusal(scope["method"], scope["path"], query, headers)
        app = self.app if refusal is None else _refused(refusal)
        await app(scope, receive, sent)


@dataclass(frozen=True, kw_only=True)
class Pages:
    """What is behind every address; `over` is called when the person has finished."""

    session: Session
    gate: Gate
    over: Callable[[], None]

    async def page(self, request: Request) -> Response:
        answer = Response(_file("index.html"), media_type="text/html; charset=utf-8")
        if self.gate.opens(request.url.query):
            answer.headers["set-cookie"] = self.gate.cookie_header()
        return answer

    async def file(self, request: Request) -> Response:
        name = request.url.path.removeprefix("/")
        return Response(_file(name), media_type=FILES[name])

    async def image(self, request: Request) -> Response:
        shot = self.session.gallery.shot
        try:
            found = await run_in_threadpool(shot, request.path_params["name"])
        except BadImage as error:
            raise HTTPException(HTTPStatus.GONE, error.reason) from error
        if found is None:
            raise HTTPException(HTTPStatus.NOT_FOUND, "there is no such picture")
        return Response(found, media_type="image/png")

    async def state(self, _: Request) -> Response:
        return JSONResponse(await run_in_threadpool(self.session.state))

    async def answer(self, request: Request) -> Response:
        return await _do(request, ("nonce", "choice"), self.session.answer)

    async def undo(self, request: Request) -> Response:
        return await _do(request, ("nonce",), self.session.undo)

    async def more(self, request: Request) -> Response:
        return await _do(request, (), self.session.more)

    async def show(self, request: Request) -> Response:
        return await _do(request, ("prompt",), lambda text: self.session.show(_prompt(text)))

    async def finish(self, request: Request) -> Response:
        found = await _do(request, (), self.session.finish)
        self.over()
        return found


def make_app(pages: Pages) -> ASGIApp:
    """Return the application of one session behind its gate."""
    posts = (pages.answer, pages.undo, pages.more, pages.show, pages.finish)
    routes = [
        Route(PAGE, pages.page, methods=["GET"]),
        *(Route(f"/{name}", pages.file, methods=["GET"]) for name in FILES),
        Route("/image/{name}", pages.image, methods=["GET"]),
        Route("/api/state", pages.state, methods=["GET"]),
        *(Route(f"/api/{each.__name__}", each, methods=["POST"]) for each in posts),
    ]
    app = Starlette(routes=routes, exception_handlers={HTTPException: _told})
    app.router.redirect_slashes = False
    return Guarded(app=app, gate=pages.gate)


async def _do(request: Request, names: tuple[str, ...], action: Callable[..., Plain]) -> Response:
    """Run an action on the texts of a JSON body, and answer with the new state."""
    said = await _body(request, names)
    try:
        return JSONResponse(await run_in_threadpool(action, *said))
    except Refused as error:
        raise HTTPException(HTTPStatus.CONFLICT, str(error)) from error
    except DiffprefError as error:
        raise HTTPException(HTTPStatus.INSUFFICIENT_STORAGE, str(error)) from error


async def _body(request: Request, names: tuple[str, ...]) -> list[str]:
    """Return the texts of these names; a body holds them and nothing else."""
    data = await request.body()
    try:
        value: Any = parse_json(data, "the request", max_bytes=MAX_BODY)
    except BadText as error:
        raise HTTPException(HTTPStatus.BAD_REQUEST, error.reason) from error
    if not isinstance(value, dict) or set(value) != set(names):
        raise HTTPException(HTTPStatus.BAD_REQUEST, f"expected {{{', '.join(names)}}}")
    if not all(isinstance(each, str) for each in value.values()):
        raise HTTPException(HTTPStatus.BAD_REQUEST, "expected texts")
    return [value[name] for name in names]


def _prompt(text: str) -> str:
    try:
        found = prompt_text(text.strip())
    except Fault as error:
        raise Refused(str(error)) from error
    if len(found) > LONGEST:
        raise Refused(f"a prompt typed here has at most {LONGEST} characters")
    return found


async def _told(_: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    detail = error.detail if isinstance(error, HTTPException) else "failed"
    return JSONResponse({"error": detail}, status_code=status)


def _refused(refusal: Refusal) -> ASGIApp:
    return PlainTextResponse(f"refused: {refusal.reason}\n", status_code=refusal.status)


@cache
def _file(name: str) -> bytes:
    return (_FOLDER / name).read_bytes()
