"""The service as a process: its socket, its connections, and its end."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from unhaze.errors import UsageError
from unhaze.web.app import Service
from unhaze.web.private import remove_leftovers
from unhaze.web.settings import ServeSettings
from unhaze.web.watching import forward_server_log, log_event

__all__ = ["bind", "serve", "url_of"]

_KEEP_ALIVE = 5  # [s] that a connection may be idle
_MOST_CONNECTIONS = 500
_LONGEST_HEAD = 16 << 10  # [bytes]
_BACKLOG = 128
_LISTENER_VARIABLE = "UNHAZE_SERVE_LISTENER"  # from a process to the one that it becomes
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def bind(settings: ServeSettings) -> socket.socket:
    """Listen on the address of a service; or go on listening, in a process that started anew.

    Raises:
        UsageError: That cannot be.
    """
    if inherited := os.environ.pop(_LISTENER_VARIABLE, None):
        return socket.socket(fileno=int(inherited))
    try:
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        listener = socket.socket(family, kind, protocol)
        try:
            if os.name != "nt":  # there it would let another program share the port
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(_BACKLOG)
        except BaseException:
            listener.close()
            raise
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(
            f"{settings.host} port {settings.port} cannot be listened on ({reason}); choose another with --host or "
            "--port, or end what uses it."
        ) from error
    return listener


def serve(settings: ServeSettings, listener: socket.socket) -> int:
    """Answer requests until a signal ends it.

    Args:
        settings: How.
        listener: From :func:`bind`.

    Returns:
        The signal.
    """
    forward_server_log()
    if count := remove_leftovers():
        log_event("start", removed=count, what="folders that a killed service left")
    service = Service(settings)
    config = uvicorn.Config(
        service.app,
        # uvicorn makes objects of this class by itself
        http=type("Protocol", (_Protocol,), {"header_seconds": settings.header_seconds}),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=settings.trust_proxy is not None,
        forwarded_allow_ips=settings.trust_proxy or "",
        server_header=False,
        limit_concurrency=_MOST_CONNECTIONS,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=1,
        h11_max_incomplete_event_size=_LONGEST_HEAD,
        backlog=_BACKLOG,
    )
    server = _Server(config, service)
    server.run(sockets=[listener.dup()])
    if not service.work.close():
        log_event("end", reason="work under way was given up")
        sys.stderr.flush()
        os._exit(0)  # threads in native code cannot be stopped
    if server.is_recycled and not server.ended_by:
        # become a new process of the same command and number, which answers those that have connected meanwhile
        log_event("recycle", requests=service.app.served)
        sys.stderr.flush()
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)  # they wait until the new process can take them
        listener.set_inheritable(True)
        os.environ[_LISTENER_VARIABLE] = str(listener.fileno())
        os.execv(sys.executable, sys.orig_argv)
    listener.close()
    return server.ended_by


class _Server(uvicorn.Server):
    """Ends in order: the first signal lets work under way end, the second does not."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self.ended_by = 0
        self.is_recycled = False
        self._service = service
        self._draining: asyncio.Task[None] | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take a signal."""
        if self.ended_by:
            self.should_exit = self.force_exit = True
            return
        self.ended_by = sig
        self._service.is_draining = True  # told to the log by the loop: this may stand in the middle of a line

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second."""
        if counter == 0 and os.name != "nt":
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        if self.ended_by and self._draining is None:
            self._draining = asyncio.create_task(self._drain())
        elif not self.is_recycled and not self.ended_by and self._service.is_worn and os.name != "nt":
            self.is_recycled = self._service.is_recycling = True
            for server in self.servers:  # who connects from now on waits for the new process
                server.close()
        elif self.is_recycled and not self.ended_by:
            here = [each for each in self.server_state.connections if isinstance(each, _Protocol)]
            self.should_exit = not any(each.is_expecting for each in here)
        return await super().on_tick(counter)

    async def _drain(self) -> None:
        log_event("drain", signal=signal.Signals(self.ended_by).name)
        try:
            async with asyncio.timeout(self._service.settings.grace_seconds):
                await self._service.drain()
        except TimeoutError:
            log_event("end", reason="the time to end work under way is over")
            await self._service.jobs.stop()  # the events of a job end with it, and so do the connections of listeners
        finally:
            self.should_exit = True


class _Protocol(H11Protocol):
    """HTTP/1.1, for clients that send the head of a request in time."""

    header_seconds = 0.0
    _deadline: asyncio.TimerHandle | None = None

    # uvicorn narrows the type of the transport likewise
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has come."""
        super().connection_made(transport)
        self._watch_head()

    def data_received(self, data: bytes) -> None:
        """Something came; what is no request yet has a deadline, which more of the same does not move."""
        super().data_received(data)
        self._watch_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone."""
        self._stop_watching()
        super().connection_lost(exc)

    @property
    def is_expecting(self) -> bool:
        """Whether a request is on its way or under way; false for a connection that idles after one."""
        return self.cycle is None or not self.cycle.response_complete

    def _watch_head(self) -> None:
        is_answering = self.cycle is not None and not self.cycle.response_complete
        if is_answering or self.transport.is_closing():
            self._stop_watching()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(self.header_seconds, self._give_up)

    def _stop_watching(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        self._deadline = None
        if self.cycle is None or self.cycle.response_complete:
            self.transport.abort()


def url_of(settings: ServeSettings, listener: Any) -> str:
    """Where a browser finds the page."""
    host, port = listener.getsockname()[:2]
    name = "127.0.0.1" if host == "0.0.0.0" else f"[{host}]" if ":" in host else host
    return f"http://{name}:{port}/"
