"""Which answer a caller wants, and the one that is a picture."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import suppress

from fastapi.responses import Response, StreamingResponse

from unhaze.batch.workers import Rendered
from unhaze.images.files import WRITE_FORMATS, identify
from unhaze.web.problems import ProblemError

__all__ = ["in_request_words", "picture_answer", "wants_json"]

_PIECE = 1 << 17  # [bytes] of an answer that are sent at once, so that one who does not read is noticed


def wants_json(accept: str) -> bool:
    """Whether an Accept header asks for JSON rather than for a picture.

    Raises:
        ProblemError: It allows neither.

    >>> wants_json("application/json"), wants_json("*/*"), wants_json("image/*, application/json;q=0.5")
    (True, False, False)
    """
    best = {"json": 0.0, "image": 0.0}
    for part in accept.split(","):
        kind, *parameters = (each.strip().lower() for each in part.split(";"))
        share = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                with suppress(ValueError):
                    share = float(parameter[2:])
        if kind in ("application/json", "application/*"):
            best["json"] = max(best["json"], share)
        elif kind.startswith("image/"):
            best["image"] = max(best["image"], share)
        elif kind in ("*/*", ""):
            best["image"] = max(best["image"], share * 0.999)
    if not any(best.values()):
        raise ProblemError(406, "Accept neither allows a picture nor application/json; ask for one of them.")
    return best["json"] > best["image"]


def in_request_words(sentence: str) -> str:
    """A sentence for the command line, with its options as a request names them.

    >>> in_request_words("--spare-clear 0 removes what there is, --model dcp finds more")
    'spare-clear=0 removes what there is, model=dcp finds more'
    """
    return re.sub(r"--(spare-clear|model) ", r"\1=", sentence)


def picture_answer(rendered: Rendered) -> Response:
    """The picture, with the figures on it in headers."""
    data = rendered.data
    format = identify(data).format
    headers = {
        "Content-Length": str(len(data)),
        "Content-Disposition": f'inline; filename="dehazed{WRITE_FORMATS[format]}"',
        "X-Unhaze-Density": str(rendered.haze.get("density", "")),
        "X-Unhaze-Airlight": ",".join(map(str, rendered.haze.get("airlight", ()))),
        "X-Unhaze-Notes": str(len(rendered.notes)),
    }
    if rendered.left_alone is not None:
        headers["X-Unhaze-Left-Alone"] = in_request_words(rendered.left_alone)

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(data), _PIECE):
            yield data[start : start + _PIECE]

    return StreamingResponse(pieces(), media_type=f"image/{format}", headers=headers)
