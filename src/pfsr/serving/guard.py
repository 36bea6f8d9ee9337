"""Who is let in: only the person who started the server, from this machine, through its own page or token.

Any page open in the person's browser can send requests to 127.0.0.1, and a name of the attacker's can be made
to point there (DNS rebinding). So, before anything else is looked at:

- Host must name the loopback address and the port;
- the session token must come along: as a bearer, as the cookie, or once in the address of the page, which
  sets the cookie;
- with the cookie, the browser must say that the request is of this page's own origin (Sec-Fetch-Site), and a
  write must carry this origin (CSRF).

Every answer forbids the page to load, send or be framed anywhere else (Content-Security-Policy).
"""

import secrets

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = "127.0.0.1"

MAX_BODY = 512 * 1024
"""Largest request, in bytes: an item id of 64 KiB, escaped."""

SAFE_METHODS = frozenset({"GET", "HEAD"})

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

Refusal = tuple[int, str]
"""Status and one line."""


class Guard:
    """ASGI middleware that lets in whom the module's text names, and nobody else.

    Args:
        app: what is guarded.
        token: of this session.
        port: the server listens on.
    """

    def __init__(self, app: ASGIApp, token: str, port: int) -> None:
        self._app, self._token = app, token
        self._hosts = {f"{LOOPBACK}:{port}", f"localhost:{port}"} | (
            {LOOPBACK, "localhost"} if port == 80 else set()
        )
        # Browsers send a cookie to every port of a host, so the name keeps two devices apart.
        self.cookie = f"pfsr-{port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        entering = request.url.path == "/" and self._is_token(request.query_params.get("token"))

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                if entering and message["status"] == 200:
                    headers.append(
                        "Set-Cookie", f"{self.cookie}={self._token}; HttpOnly; SameSite=Strict; Path=/"
                    )
            await send(message)

        refusal = self._host(request) or (None if entering else self._session(request)) or _size(request)
        app = JSONResponse({"error": refusal[1]}, refusal[0]) if refusal else self._app
        await app(scope, receive, told)

    def _host(self, request: Request) -> Refusal | None:
        if request.headers.getlist("host") and set(request.headers.getlist("host")) <= self._hosts:
            return None
        return 403, "this address is not the device's; use the one that pfsr device serve printed"

    def _session(self, request: Request) -> Refusal | None:
        kind, _, bearer = request.headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and self._is_token(bearer.strip()):
            return self._foreign(request.headers) if "origin" in request.headers else None
        if not self._is_token(request.cookies.get(self.cookie)):
            return 401, "no valid session token; open the address that pfsr device serve printed"
        if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            return 403, "asked for by another page; open the address that pfsr device serve printed"
        return None if request.method in SAFE_METHODS else self._foreign(request.headers)

    def _foreign(self, headers: Headers) -> Refusal | None:
        if headers.get("origin", "").removeprefix("http://") in self._hosts:
            return None
        return 403, "asked for by another page; only the device's own page may change anything"

    def _is_token(self, given: str | None) -> bool:
        return given is not None and secrets.compare_digest(given.encode(), self._token.encode())


def _size(request: Request) -> Refusal | None:
    if "transfer-encoding" in request.headers:
        return 411, "send a Content-Length"
    length = request.headers.get("content-length", "0")
    if not (length.isdigit() and int(length) <= MAX_BODY):
        return 413, f"a request has at most {MAX_BODY:,} bytes"
    return None
