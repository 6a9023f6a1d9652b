"""What stands before every route: who may ask, how much may come in, and what each answer says about itself.

Nothing here knows of pictures.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
import time
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from logging import ERROR

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from unhaze.web.problems import BrokenOffError, ProblemError, problem_response, retry_later
from unhaze.web.settings import ServeSettings
from unhaze.web.watching import RequestLog, Watch, log_event

__all__ = ["OPEN_PATHS", "Guard", "SlowReaderError"]

OPEN_PATHS = frozenset(
    {"/", "/page.css", "/page.js", "/worker.js", "/icon.svg", "/healthz", "/readyz", "/openapi.json"}
)
"""Paths that need no token: the page, which holds nothing secret, and what a supervisor asks."""

_PROBES = frozenset({"/healthz", "/readyz", "/metrics"})
_METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
_ONCE = ("Authorization", "Content-Length", "Content-Type", "Host", "Origin", "Transfer-Encoding")
_SLOWEST = 64 << 10  # [bytes/s] that an upload needs beyond its first seconds
_DISCARDED = 8 << 20  # [bytes] of a refused body that are read, so that its sender comes to read the answer
_DISCARDING = 2.0  # [s]
_EXPOSED = "X-Request-Id, X-Unhaze-Density, X-Unhaze-Airlight, X-Unhaze-Left-Alone, Retry-After, Content-Disposition"
_PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, POST, DELETE",
    "Access-Control-Allow-Headers": "Accept, Authorization, Content-Type",
    "Access-Control-Max-Age": "600",
}
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


class SlowReaderError(BrokenOffError):
    """The client does not read its answer."""


class Guard:
    """An ASGI application around the routes.

    Args:
        app: The routes.
        settings: Whom and how much to let in.
        watch: Told of each request.
        is_draining: Whether new work is refused.
    """

    def __init__(self, app: ASGIApp, settings: ServeSettings, watch: Watch, is_draining: Callable[[], bool]) -> None:
        self._app, self._settings, self._watch, self._is_draining = app, settings, watch, is_draining
        self._hosts, self._origins = settings.known_hosts, frozenset(settings.allow_origins)
        self._clients: Counter[str] = Counter()
        self.served = 0  # requests, those of supervisors not counted

    @property
    def active(self) -> int:
        """Requests under way, those of supervisors not counted."""
        return self._clients.total()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
        method = scope["method"] if scope["method"] in _METHODS else "other"  # a caller may make up any word
        told = scope["unhaze.request"] = RequestLog(secrets.token_hex(8), method, has_more_body=has_body)
        client = scope["client"][0] if scope.get("client") else ""
        counted = scope["path"] not in _PROBES
        self._clients[client] += counted
        self.served += counted
        origin, more = headers.get("origin"), {}
        is_known_origin = origin in self._origins
        if origin is not None and is_known_origin:
            more = {
                "Access-Control-Allow-Origin": origin,
                "Access-Control-Expose-Headers": _EXPOSED,
                "Cross-Origin-Resource-Policy": "cross-origin",
            }
        sent = _Sent(send, told, self._settings.upload_seconds, more)
        try:
            received = self._limited(receive, told)
            try:
                await self._check(scope, headers, client)
                if scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
                    answer = Response(status_code=405, headers={"Allow": "GET, POST, DELETE"})
                    if is_known_origin:
                        answer = Response(status_code=204, headers=_PREFLIGHT)
                    await answer(scope, receive, sent)
                else:
                    await self._app(scope, received, sent)
            except ProblemError as problem:
                if told.has_more_body and "100-continue" not in headers.get("expect", ""):
                    await _discard(receive)
                await problem_response(problem, told.id)(scope, receive, sent)
        except BrokenOffError:
            raise  # uvicorn closes the connection
        except Exception as error:  # the answer to it has been given, see the handlers of the routes
            trace = "".join(traceback.format_exception(error))
            log_event("failure", level=ERROR, request_id=told.id, trace=trace)
            if not told.status:
                detail = "Something unexpected went wrong; the log of the server has more under this id."
                await problem_response(ProblemError(500, detail), told.id)(scope, receive, sent)
        finally:
            self._clients[client] -= counted
            if not self._clients[client]:
                del self._clients[client]
            self._watch.request(told, getattr(scope.get("route"), "path", None) or "other")

    async def _check(self, scope: Scope, headers: Headers, client: str) -> None:
        """Refuse who may not ask, and what is too much, before anything is read."""
        path, settings = scope["path"], self._settings
        for name in _ONCE:
            if len(headers.getlist(name)) > 1:
                raise ProblemError(400, f"The header {name} is given twice; leave one of them out.")
        if "content-length" in headers and "transfer-encoding" in headers:  # a proxy may take one, and h11 the other
            raise ProblemError(400, "Content-Length and Transfer-Encoding exclude each other; send one of them.")
        host = headers.get("host", "").lower()
        if _without_port(host) not in self._hosts:
            raise ProblemError(
                400, "The Host header names another host than this service; its operator can add it (--allow-host)."
            )
        origin = headers.get("origin")
        if origin is not None and origin not in self._origins and origin.partition("://")[2].lower() != host:
            raise ProblemError(403, "Pages of this origin may not call this service (--allow-origin).")
        is_preflight = scope["method"] == "OPTIONS" and origin in self._origins
        if settings.token is not None and path not in OPEN_PATHS and not is_preflight:
            kind, _, shown = headers.get("authorization", "").partition(" ")
            if kind.lower() != "bearer" or not hmac.compare_digest(shown.strip().encode(), settings.token.encode()):
                raise ProblemError(
                    401,
                    "A token is needed: send the header Authorization: Bearer TOKEN.",
                    {"WWW-Authenticate": 'Bearer realm="unhaze"'},
                )
        if self._is_draining() and scope["method"] == "POST":
            raise retry_later(503, "The service is about to end and takes no new work; send it again later.", 5)
        if path not in _PROBES and self._clients[client] > settings.per_client:
            raise retry_later(429, "Too many requests of one client at once; send it again later.", 1)
        length = headers.get("content-length", "0")
        if not length.isdigit() or len(length) > 18:
            raise ProblemError(400, "The Content-Length header is no number.")
        if int(length) > settings.max_bytes:
            raise self._too_large()

    def _too_large(self) -> ProblemError:
        return ProblemError(413, f"The request has more than the {self._settings.max_bytes} bytes that are taken here.")

    def _limited(self, receive: Receive, told: RequestLog) -> Receive:
        """The body of a request, within the limits of bytes and time."""
        begun = time.monotonic()

        async def limited() -> Message:
            if not told.has_more_body:  # only the end of the connection is to come, whenever that may be
                return await receive()
            allowed = begun + self._settings.upload_seconds + told.bytes_in / _SLOWEST
            try:
                async with asyncio.timeout(max(0.0, allowed - time.monotonic())):
                    message = await receive()
            except TimeoutError as error:
                raise ProblemError(408, "The request came too slowly; send it over a faster line.") from error
            told.bytes_in += len(message.get("body", b""))
            if told.bytes_in > self._settings.max_bytes:
                await _discard(receive)
                raise self._too_large()
            told.has_more_body = message.get("more_body", False)
            return message

        return limited


class _Sent:
    """Sends an answer with the headers that every answer has, to a client that reads it."""

    def __init__(self, send: Send, told: RequestLog, seconds: float, more: dict[str, str]) -> None:
        self._send, self._told, self._seconds, self._more = send, told, seconds, more

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._told.status = message["status"]
            headers = MutableHeaders(scope=message)
            for name, value in {**_HEADERS, **self._more, "X-Request-Id": self._told.id}.items():
                headers[name] = value
            headers.setdefault("Cache-Control", "no-store")
            headers.add_vary_header("Origin")
            if self._told.has_more_body:  # what is left of it would be taken for the next request, or come for ever
                headers["Connection"] = "close"
        else:
            self._told.bytes_out += len(message.get("body", b""))
        try:
            async with asyncio.timeout(self._seconds):
                await self._send(message)
        except TimeoutError as error:
            raise SlowReaderError from error


async def _discard(receive: Receive) -> None:
    """Read some of a body that nobody wants: who still sends does not listen."""
    count = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(_DISCARDING):
            while count < _DISCARDED:
                message = await receive()
                count += len(message.get("body", b""))
                if not message.get("more_body", False):
                    return


def _without_port(host: str) -> str:
    """The name in a ``Host`` header.

    >>> _without_port("[::1]:8000"), _without_port("example.org:80"), _without_port("a:b:1")
    ('[::1]', 'example.org', '')
    """
    name, colon, port = host.rpartition(":") if not host.endswith("]") else (host, "", "")
    if not colon:
        return host
    return name if port.isdigit() and (":" not in name or name.startswith("[")) else ""
