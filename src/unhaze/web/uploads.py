"""What comes in with a request: a picture or an archive, on the disk without a name, and the fields of its form.

The files have no name in any folder (or lose it at once, as the system allows), so that they are gone with the request,
whatever becomes of it, even if the process is killed.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import IO

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from unhaze.web.problems import ProblemError

__all__ = ["Upload", "receive_upload"]

_MOST_FIELDS = 40
_LONGEST_FIELD = 4096  # bytes
_RAW_TYPES = ("application/octet-stream", "application/x-www-form-urlencoded", "application/zip")  # the second: curl's


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that came with a request.

    Attributes:
        file: Its content, on the disk.
        size: Bytes.
        fields: Names and values of the other fields of the form.
    """

    file: IO[bytes]
    size: int
    fields: tuple[tuple[str, str], ...] = ()

    def read(self) -> bytes:
        """The whole content."""
        self.file.seek(0)
        return self.file.read()


@asynccontextmanager
async def receive_upload(request: Request, *, what: str) -> AsyncIterator[Upload]:
    """The file in the body of a request: the body itself, or the field ``file`` of a form.

    Args:
        request: Its limits of bytes and time hold already.
        what: What is expected, with its article, for messages.

    Raises:
        ProblemError: There is none, or the body is of another type.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        try:
            form = await request.form(max_files=1, max_fields=_MOST_FIELDS, max_part_size=_LONGEST_FIELD)
        except HTTPException as error:  # what Starlette makes of a form that it cannot read
            raise ProblemError(
                422, f"The form cannot be read ({error.detail}); send it as multipart/form-data."
            ) from error
        try:
            found, texts = [], []
            for name, value in form.multi_items():
                if isinstance(value, UploadFile):
                    found.append((name, value))
                else:
                    texts.append((name, value))
            if not found or found[0][0] != "file":
                raise ProblemError(422, f"The form has no file in its field 'file'; put {what} there.")
            upload = found[0][1]
            if not upload.size:
                raise ProblemError(422, f"The file in the form is empty; send {what}.")
            yield Upload(upload.file, upload.size, tuple(texts))
        finally:
            await form.close()
    elif not kind or kind.startswith(("image/", "video/")) or kind in _RAW_TYPES:
        with tempfile.TemporaryFile() as file:
            async for piece in request.stream():
                if piece:
                    await asyncio.to_thread(file.write, piece)
            if not file.tell():
                raise ProblemError(422, f"The request holds nothing; send {what} as its body, or as the field 'file'.")
            yield Upload(file, file.tell())
    else:
        raise ProblemError(
            415, f"A body of the type {kind[:60]!r} is not taken; send {what} as its body, or as multipart/form-data."
        )
