"""Camera raw through the optional rawpy, which brings LibRaw."""

from __future__ import annotations

import io
import os
import re
import struct
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any

import numpy as np

from unhaze.errors import MissingDependencyError, UnhazeError
from unhaze.images import _exif, _metadata
from unhaze.images._picture import Decoded, ImageInfo, Metadata, Source
from unhaze.images.budget import TooMuchError

__all__ = ["identify", "read"]

_ONE_AT_A_TIME = threading.Lock()  # standard error belongs to the whole process
_EARLY_END = b"nexpected end"
_VERDICT = re.compile(rb"[Uu]nexpected end of file|[Dd]ata corrupted")  # as LibRaw's default callback says it
# maker, model, orientation, software, date, author, copyright, EXIF and GPS; the rest is about the sensor
_DESCRIPTIVE = {270, 271, 272, 274, 305, 306, 315, 33432, _exif.EXIF_IFD, _exif.GPS_IFD}


def identify(source: Source) -> ImageInfo:
    """Size of the picture that developing will give."""
    with _open(source) as raw:
        width, height = _size(raw)
        channels = 1 if raw.num_colors == 1 else 3
    return ImageInfo("raw", width, height, channels, False, "uint16")


def read(source: Source, max_pixels: int | None) -> Decoded:
    """Develop with the white balance of the camera into 16-bit sRGB; LibRaw turns the picture upright."""
    with _open(source) as raw:
        source.check_size(*_size(raw), max_pixels)
        words: list[bytes] = []
        try:
            with _words_of_libraw(source) as words:
                pixels = raw.postprocess(use_camera_wb=True, output_bps=16)
        except Exception as error:
            if isinstance(error, MemoryError | UnhazeError):
                raise
            raise (source.truncated() if _EARLY_END in b"".join(words) else source.damaged()) from error
    icc = _metadata.srgb_profile() if pixels.ndim == 3 else None
    exif = None
    order = {b"II": "<", b"MM": ">"}.get(source.start(2))
    if order is not None:  # the kinds of raw file that are built like a TIFF (DNG, NEF, CR2, ARW, ...)
        with suppress(_exif.ExifError, TooMuchError, struct.error):
            (offset,) = struct.unpack(order + "I", source.read_at(4, 4))
            entries = _exif.read_directory(source.read_at, offset, order).entries
            kept = {tag: entry for tag, entry in entries.items() if tag in _DESCRIPTIVE}
            exif = _exif.blob_from_directory(_exif.Directory(order, kept)) if kept else None
    metadata = Metadata(exif=exif, icc=icc)
    pixels = pixels[..., 0] if pixels.shape[2] == 1 else pixels  # cameras without a colour filter
    notes = ["LibRaw says that data of the picture is corrupted; look at the result."] if words else []
    return Decoded(np.ascontiguousarray(pixels), orientation=1, metadata=metadata, notes=notes)


@contextmanager
def _words_of_libraw(source: Source) -> Iterator[list[bytes]]:
    """Keep from the terminal what LibRaw says there alone, and list it; an unexpected end is an error.

    rawpy leaves no other way to its verdict. What others say to standard error meanwhile is passed on.

    Raises:
        ImageDecodeError: LibRaw found the end of the file where it expected data.
    """
    words: list[bytes] = []
    with _ONE_AT_A_TIME, tempfile.TemporaryFile() as said:
        if sys.stderr:
            sys.stderr.flush()
        try:
            terminal = os.dup(2)
        except OSError:  # standard error is closed
            terminal = -1
        os.dup2(said.fileno(), 2)
        try:
            yield words
        finally:
            if terminal < 0:
                os.close(2)
            else:
                os.dup2(terminal, 2)
                os.close(terminal)
            said.seek(0)
            others: list[bytes] = []
            for line in said:
                (words if _VERDICT.search(line) else others).append(line)
            if others and terminal >= 0:
                os.write(2, b"".join(others))
    if _EARLY_END in b"".join(words):
        raise source.truncated()


def _size(raw: Any) -> tuple[int, int]:
    sizes = raw.sizes
    size = (sizes.iwidth, sizes.iheight)
    return size[::-1] if sizes.flip in (5, 6) else size


def _open(source: Source) -> Any:
    try:
        rawpy = import_module("rawpy")
    except ImportError as error:
        raise MissingDependencyError("rawpy", "raw", f"read {source.name}") from error
    try:
        with _words_of_libraw(source):
            return rawpy.imread(io.BytesIO(source.data()))
    except rawpy.LibRawError as error:
        raise source.damaged(f"LibRaw says: {str(error).removeprefix('b').strip(chr(39))}") from error
