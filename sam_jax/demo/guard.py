"""What every request passes before a route sees it, and what every answer is given.

- Host: see `Settings.hosts`.
- Origin: a browser says which page asks; pages of other sites are refused, websockets included.
- Token: compared in constant time. Websockets cannot carry it in a header; see `current.accept`.
- Body: counted while it is read, whatever Content-Length says.
- Content security policy: the page takes scripts, styles and pictures from this server only.
"""

import hmac
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sam_jax.demo.refusal import Refusal, answer
from sam_jax.demo.settings import MB, Settings

_DEFAULT_BODY = 64 << 10
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
    "cache-control": "no-store",
}


def body_limits(settings: Settings) -> dict[str, int]:
    """Bytes that a request to these paths may have; to others 64 KB."""
    return {
        "/api/picture": settings.max_picture,
        "/api/picture/predict": MB,
        "/api/picture/export": 16 * MB,
        "/api/video/prompt": MB,
        "/api/video/upload": settings.max_video,
    }


def same_token(given: str | None, wanted: str | None) -> bool:
    """Whether the token is right; always, if none is wanted."""
    if wanted is None:
        return True
    text = (given or "").encode(errors="surrogatepass")  # JSON may hold halves of characters
    return hmac.compare_digest(text, wanted.encode())


class Guard:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._settings = settings
        self._limits = body_limits(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        try:
            self._check(scope)
        except Refusal as refusal:
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
            else:
                dressed = _dressed(send)
                await answer(refusal.status_code, refusal.message)(scope, receive, dressed)
            return
        if scope["type"] == "websocket":
            await self._app(scope, receive, send)
        else:
            limit = self._limits.get(scope["path"], _DEFAULT_BODY)
            await self._app(scope, _counted(receive, limit), _dressed(send))

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        host = headers.get("host", "").lower()
        hosts = self._settings.hosts
        if hosts is not None and _name(host) not in hosts:
            raise Refusal(
                421, f"this server is not called {host[:100]!r}: open the address that it printed"
            )
        origin = headers.get("origin")
        if origin is not None and origin.lower().partition("://")[2] != host:
            raise Refusal(403, "pages of other sites may not use this server")
        if scope["type"] != "http":
            return
        if scope["path"].startswith("/api/"):
            kind, _, token = headers.get("authorization", "").partition(" ")
            if not same_token(token if kind == "Bearer" else None, self._settings.token):
                raise Refusal(
                    401, "the token is missing or wrong: open the address that the server printed"
                )
        length, limit = headers.get("content-length"), self._limits.get(scope["path"])
        limit = _DEFAULT_BODY if limit is None else limit
        if length is not None and length.isdecimal() and int(length[:20]) > limit:
            raise _too_large(limit)


def _name(host: str) -> str | None:
    """A Host header without its port, which a tunnel may have changed."""
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def _too_large(limit: int) -> Refusal:
    size = f"{limit / MB:g} MB" if limit >= MB else f"{limit >> 10} KB"
    return Refusal(413, f"too large: at most {size} are taken here")


def _counted(receive: Receive, limit: int) -> Receive:
    """`receive` that refuses a body as soon as more than `limit` bytes of it have come."""
    seen = 0

    async def counted() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > limit:
            raise _too_large(limit)
        return message

    return counted


def _dressed(send: Send) -> Send:
    """`send` that adds the headers of every answer."""

    async def dressed(message: Any) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return dressed
