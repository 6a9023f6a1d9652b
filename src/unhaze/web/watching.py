"""What an operator sees of a service: figures for Prometheus, and one line of JSON for each request.

Neither holds names of pictures, addresses of clients, or anything else that a caller chose freely.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

from unhaze.batch.workers import Rendered

__all__ = ["RequestLog", "Watch", "forward_server_log", "log_event"]

_log = logging.getLogger("unhaze.web")
_SECONDS = (0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 1, 2, 5, 10, 30, 60)
_DENSITIES = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3)


@dataclass(slots=True)
class RequestLog:
    """What is told of one request when it is over."""

    id: str
    method: str
    started: float = field(default_factory=time.perf_counter)
    status: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    has_more_body: bool = False  # whether some of its body was not read
    more: dict[str, Any] = field(default_factory=dict)


class Watch:
    """Counts what happens.

    Args:
        gauges: Name to what a figure means and how it is read now.
    """

    def __init__(self, gauges: dict[str, tuple[str, Callable[[], float]]]) -> None:
        registry = self._registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self._requests = Counter(
            "unhaze_requests", "Requests, by route and status.", ["route", "method", "status"], registry=registry
        )
        self._seconds = Histogram(
            "unhaze_request_seconds", "Time from request to answer.", ["route"], buckets=_SECONDS, registry=registry
        )
        self._pictures = Counter("unhaze_pictures", "Pictures, by what became of them.", ["result"], registry=registry)
        self._density = Histogram(
            "unhaze_haze_density",
            "Mean optical depth of the haze in pictures: 0 clear, 1 hazy, 2 dense fog.",
            buckets=_DENSITIES,
            registry=registry,
        )
        for name, (meaning, read) in gauges.items():
            Gauge(f"unhaze_{name}", meaning, registry=registry).set_function(read)

    def picture(self, rendered: Rendered | None) -> None:
        """Count a picture; ``None`` for one that failed."""
        self._pictures.labels("failed" if rendered is None else "restored").inc()
        if rendered is not None and "density" in rendered.haze:
            self._density.observe(rendered.haze["density"])

    def request(self, told: RequestLog, route: str) -> None:
        """Count a request that is over, and log it."""
        seconds = time.perf_counter() - told.started
        self._requests.labels(route, told.method, str(told.status)).inc()
        self._seconds.labels(route).observe(seconds)
        log_event(
            "request",
            request_id=told.id,
            method=told.method,
            route=route,
            status=told.status,
            seconds=round(seconds, 4),
            bytes_in=told.bytes_in,
            bytes_out=told.bytes_out,
            **told.more,
        )

    def as_text(self) -> bytes:
        """All figures, in the text format of Prometheus."""
        return generate_latest(self._registry)


def log_event(event: str, *, level: int = logging.INFO, **facts: Any) -> None:
    """Write one line of JSON to the log."""
    now = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()) + f".{int(time.time() * 1000) % 1000:03d}Z"
    _log.log(level, json.dumps({"time": now, "level": logging.getLevelName(level).lower(), "event": event, **facts}))


class _ServerLog(logging.Handler):
    """Makes lines of JSON of what uvicorn logs."""

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, asyncio.CancelledError):
            return  # a request that the end of the service broke off: it has its own line, and so has that end
        what = {} if error is None else {"error": type(error).__name__}
        log_event("server", level=record.levelno, message=record.getMessage().strip(), **what)


def forward_server_log() -> None:
    """Let warnings of uvicorn and asyncio come out in the form of all others."""
    for name in ("uvicorn", "uvicorn.error", "asyncio"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [_ServerLog()] if name != "uvicorn.error" else [], name == "uvicorn.error"
        logger.setLevel(logging.WARNING)
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # it quotes what came in; the caller is told
