"""Who may ask the rating page for anything: rules on plain values, before any route is looked at.

A browser lends its network position to every site it visits, so listening on loopback is not
enough. A request passes only if

- its Host is one this server is known by (a name that was rebound to this address is not),
- it carries the session's cookie, which only the link with the random token sets,
- it does not come from another site, by Origin and Sec-Fetch-Site,
- it changes something only by POST, with a JSON body of a known, small length.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hmac import compare_digest
from http import HTTPStatus
from ipaddress import ip_address
from secrets import token_urlsafe
from urllib.parse import parse_qs

MAX_BODY = 4096
PAGE = "/"
NAMES = ("127.0.0.1", "localhost", "[::1]")
"""What loopback is called in a Host header."""

WILD = ("0.0.0.0", "::")

Headers = Sequence[tuple[str, str]]

POLICY: Mapping[str, str] = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cache-control": "no-store",
}
"""Headers of every answer."""


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """Why a request gets nothing."""

    status: HTTPStatus
    reason: str


@dataclass(frozen=True, kw_only=True)
class Gate:
    """The rules of one server.

    token: in the link that is printed; cookie: what the link is exchanged for.
    """

    host: str
    port: int
    token: str = field(default_factory=lambda: token_urlsafe(32), repr=False)
    cookie: str = field(default_factory=lambda: token_urlsafe(32), repr=False)

    @property
    def cookie_name(self) -> str:
        """Cookies do not tell ports apart, so their names do."""
        return f"diffpref_rate_{self.port}"

    @property
    def link(self) -> str:
        """What a person opens."""
        return f"http://{self._name()}:{self.port}/?token={self.token}"

    def refusal(self, method: str, path: str, query: str, headers: Headers) -> Refusal | None:
        """Return why a request is refused, or None if it may go on."""
        if not self._known_host(_all(headers, "host")):
            return Refusal(status=HTTPStatus.MISDIRECTED_REQUEST, reason="unknown Host")
        opens = method == "GET" and path == PAGE and self.opens(query)
        if not opens and not self._has_cookie(_all(headers, "cookie")):
            reason = "open the link that diffpref printed; an older one does not work any more"
            return Refusal(status=HTTPStatus.FORBIDDEN, reason=reason)
        if self._from_elsewhere(method, headers, opens=opens):
            return Refusal(status=HTTPStatus.FORBIDDEN, reason="from another site")
        if method == "POST":
            return _body_refusal(headers)
        if method != "GET":
            return Refusal(status=HTTPStatus.METHOD_NOT_ALLOWED, reason="only GET and POST")
        return None

    def opens(self, query: str) -> bool:
        """Say whether a query holds the link's token."""
        try:
            said = parse_qs(query, max_num_fields=4).get("token", [])
        except ValueError:
            return False
        return len(said) == 1 and _same(said[0], self.token)

    def cookie_header(self) -> str:
        """Return the header that lets a browser in until it is closed."""
        return f"{self.cookie_name}={self.cookie}; Path=/; HttpOnly; SameSite=Strict"

    def _name(self) -> str:
        if self.host in WILD:
            return "127.0.0.1"
        return f"[{self.host}]" if ":" in self.host else self.host

    def _known_host(self, said: Sequence[str]) -> bool:
        if len(said) != 1:
            return False
        name, colon, port = said[0].lower().rpartition(":")
        if not colon or "]" in port:  # no port: that of the scheme
            name, port = said[0].lower(), "80"
        if port != str(self.port):
            return False
        if name in NAMES or name == self._name().lower():
            return True
        # A name can be rebound to this address by its owner; an address cannot.
        return self.host in WILD and _is_address(name)

    def _has_cookie(self, said: Sequence[str]) -> bool:
        # By hand: http.cookies gives up on all of a header for one odd cookie of another server.
        for each in ";".join(said).split(";"):
            name, equals, value = each.strip().partition("=")
            if equals and name == self.cookie_name and _same(value, self.cookie):
                return True
        return False

    def _from_elsewhere(self, method: str, headers: Headers, *, opens: bool) -> bool:
        site, origin = _all(headers, "sec-fetch-site"), _all(headers, "origin")
        mine = [f"http://{host}" for host in _all(headers, "host")]  # checked before
        if origin and origin != mine:
            return True
        if method != "GET" and not origin:
            return True
        # Following the link from another page, such as a terminal in a browser, is fine.
        follows = opens and _all(headers, "sec-fetch-mode") == ["navigate"]
        return bool(site) and not follows and not set(site) <= {"same-origin", "none"}


def _body_refusal(headers: Headers) -> Refusal | None:
    kind = [each.partition(";")[0].strip().lower() for each in _all(headers, "content-type")]
    if kind != ["application/json"]:
        return Refusal(status=HTTPStatus.UNSUPPORTED_MEDIA_TYPE, reason="only application/json")
    said = _all(headers, "content-length")
    if _all(headers, "transfer-encoding") or len(said) != 1 or not said[0].isdecimal():
        return Refusal(status=HTTPStatus.LENGTH_REQUIRED, reason="say the length")
    if len(said[0]) > 9 or int(said[0]) > MAX_BODY:
        return Refusal(status=HTTPStatus.REQUEST_ENTITY_TOO_LARGE, reason="too long")
    return None


def _all(headers: Headers, name: str) -> list[str]:
    return [value.strip() for key, value in headers if key == name]


def _same(said: str, known: str) -> bool:
    return compare_digest(said.encode("utf-8", "replace"), known.encode())


def _is_address(name: str) -> bool:
    try:
        ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Say whether only programs of this machine can reach a host."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
