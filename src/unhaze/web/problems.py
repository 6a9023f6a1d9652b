"""Errors as a caller sees them: problem+json (RFC 9457) with one sentence, and never where in the code it happened."""

from __future__ import annotations

import errno
import json
from collections.abc import Mapping
from http import HTTPStatus

from starlette.responses import Response

from unhaze.errors import (
    ImageError,
    ImageTooLargeError,
    MissingError,
    OverBudgetError,
    UnhazeError,
    UnsupportedImageError,
    UsageError,
)

__all__ = ["PROBLEM_TYPE", "BrokenOffError", "ProblemError", "problem_of", "problem_response", "retry_later"]

PROBLEM_TYPE = "application/problem+json"

# the first class that fits decides
_STATUS_OF: tuple[tuple[type[UnhazeError], int], ...] = (
    (ImageTooLargeError, 413),
    (OverBudgetError, 413),
    (UnsupportedImageError, 415),
    (ImageError, 422),
    (UsageError, 422),
    (MissingError, 422),
)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_TOO_MANY_FILES = (errno.EMFILE, errno.ENFILE)


class ProblemError(Exception):
    """A request that is answered with an error.

    Args:
        status: HTTP status.
        detail: One sentence: what is wrong, and what to do.
        headers: Further headers of the answer.
    """

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, dict(headers or {})


class BrokenOffError(Exception):
    """An answer that has begun cannot come to its end, so its connection is closed."""


def retry_later(status: int, detail: str, seconds: int) -> ProblemError:
    """A refusal that ends by itself: 429 or 503 with ``Retry-After``."""
    return ProblemError(status, detail, {"Retry-After": str(seconds)})


def problem_of(error: Exception) -> ProblemError | None:
    """What the caller is told of an error that unhaze raises on purpose; ``None`` for one that nobody foresaw."""
    if isinstance(error, ProblemError):
        return error
    if isinstance(error, MemoryError):
        return retry_later(503, "There is not enough memory for this picture now; send it again later.", 10)
    if isinstance(error, OSError) and error.errno in _FULL:
        return retry_later(503, "The disk of the service is full; send it again later.", 10)
    if isinstance(error, OSError) and error.errno in _TOO_MANY_FILES:
        return retry_later(503, "The service has as many files open as it may; send it again later.", 10)
    status = next((status for kind, status in _STATUS_OF if isinstance(error, kind)), None)
    return None if status is None else ProblemError(status, str(error))


def problem_response(problem: ProblemError, request_id: str) -> Response:
    """The answer."""
    body = {
        "type": "about:blank",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": problem.detail,
        "request_id": request_id,
    }
    return Response(json.dumps(body), problem.status, problem.headers, PROBLEM_TYPE)
