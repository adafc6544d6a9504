"""Who may talk to the server: checked before anything else looks at a request.

A web page from elsewhere can send requests to 127.0.0.1 from the user's own browser. Three things stop it: an address
with a random token that it cannot know; `Host`, which is wrong when a foreign name was made to point here (DNS
rebinding); and `Origin`, which browsers set and pages cannot change. Every answer forbids scripts that do not come from
our own files, frames, and keeping a copy.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HOSTS: Final = ("127.0.0.1", "localhost")

HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
        "font-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def new_token() -> str:
    """Give a token of 256 random bits."""
    return secrets.token_urlsafe(32)


class Guard:
    """Lets through what knows the token, names this server, and comes from its own page; takes the token off."""

    def __init__(self, app: ASGIApp, *, token: str, port: int) -> None:
        self._app = app
        self._token = token.encode("ascii")
        self._hosts = {f"{host}:{port}" for host in HOSTS}
        self._origins = {f"http://{host}" for host in self._hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check a request or a WebSocket."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is None:
            path: str = scope["path"]
            inner = {**scope, "path": path[len(self._token) + 1 :], "raw_path": None}
            await self._app(inner, receive, _with_headers(send))
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 4403, "reason": refusal[1]})
        else:
            await PlainTextResponse(refusal[1], refusal[0])(scope, receive, _with_headers(send))

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        """Give the status and words for what may not pass, None for what may."""
        headers = Headers(scope=scope)
        if _only(headers.getlist("host")) not in self._hosts:
            return 403, "wrong host"
        first, _, _ = scope["path"].removeprefix("/").partition("/")
        knows = secrets.compare_digest(first.encode("utf-8", "surrogatepass"), self._token)
        if not knows or scope["path"] == f"/{first}":
            return 404, "not found"
        origins = headers.getlist("origin")
        needs = scope["type"] == "websocket" or scope["method"] not in ("GET", "HEAD")
        if (needs or origins) and _only(origins) not in self._origins:
            return 403, "wrong origin"
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            return 403, "from another site"
        return None


def _only(values: Iterable[str]) -> str:
    """Give the one value of a header, "" where there is none or several."""
    found = [*values]
    return found[0] if len(found) == 1 else ""


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers[name] = value
        await send(message)

    return sending
