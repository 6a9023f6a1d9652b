"""Formats that Pillow reads as they are: no 16 bit, no profile of another colour space, no orientation."""

from __future__ import annotations

from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageFile

from unhaze.errors import UnsupportedImageError
from unhaze.images._arrays import split_channels
from unhaze.images._picture import Decoded, ImageInfo, Metadata, Source

__all__ = ["decode_simple", "open_simple", "simple_info"]


def open_simple(
    source: Source, factory: type[ImageFile.ImageFile], file: BinaryIO | None = None
) -> ImageFile.ImageFile:
    """Parse the header, that of ``file`` where it takes the place of the source.

    The reader of the format is called directly: ``Image.open`` would apply the pixel limit that belongs to the host
    program.
    """
    file = source.file if file is None else file
    file.seek(0)
    try:
        return factory(file)
    except Image.DecompressionBombError as error:  # a few readers apply the limit themselves
        raise UnsupportedImageError(f"{source.name} is too large for a file of its kind; convert it to PNG.") from error
    except (OSError, SyntaxError, ValueError, EOFError, KeyError, IndexError) as error:
        raise source.damaged("its header cannot be read, or it is truncated") from error


def simple_info(format: str, image: Image.Image) -> ImageInfo:
    """Size and type of an opened picture."""
    grey = image.mode in ("1", "L", "LA")
    if image.mode == "P":
        assert image.palette is not None
        colours = np.frombuffer(bytes(image.palette.palette), np.uint8)
        size = len(image.palette.mode)
        entries = colours[: len(colours) // size * size].reshape(-1, size)[:, :3]
        grey = bool((entries == entries[:, :1]).all())
    has_alpha = image.mode in ("LA", "RGBA", "PA") or "transparency" in image.info
    return ImageInfo(format, *image.size, 1 if grey else 3, has_alpha, "uint8")


def decode_simple(source: Source, image: Image.Image, max_pixels: int | None) -> Decoded:
    """Decode to 8-bit grey or RGB with alpha where there is one."""
    source.check_size(*image.size, max_pixels)
    info = simple_info("", image)
    mode = ("L" if info.channels == 1 else "RGB") + ("A" if info.has_alpha else "")
    dpi = image.info.get("dpi")
    try:
        stored: np.ndarray[Any, Any] = np.array(image.convert(mode))
    except (OSError, SyntaxError, ValueError, EOFError, IndexError) as error:
        if "truncated" in str(error):
            raise source.truncated() from error
        raise source.damaged() from error
    metadata = Metadata(dpi=dpi if dpi and all(dpi) else None)
    return Decoded(*split_channels(stored, grey=info.channels == 1), metadata=metadata)
