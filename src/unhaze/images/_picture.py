"""What the readers hand over and the writers take: pictures, and what must survive beside the pixels."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from unhaze.errors import ImageDecodeError, ImageTooLargeError, UnhazeError
from unhaze.images.budget import METADATA_LIMIT, Budget, TooMuchError, check_pixels
from unhaze.images.levels import hidden_pixels

Pixels = NDArray[Any]  # (H, W) or (H, W, 3), uint8 | uint16 | float32


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """What the header of a picture file says, without decoding a pixel.

    Attributes:
        format: ``"jpeg"``, ``"png"``, ``"tiff"``, ``"webp"``, ``"avif"``, ``"bmp"``, ``"gif"``, ``"ppm"``, ``"heif"``
            or ``"raw"``; decided by the content, not by the name.
        width: Columns [px] as displayed, that is after the orientation tag is applied.
        height: Rows [px] as displayed.
        channels: 1 (grey) or 3 (colour), without alpha.
        has_alpha: Whether an alpha channel comes with the pixels.
        dtype: Value type after decoding: ``"uint8"``, ``"uint16"`` or ``"float32"``.
        hdr: Whether the colours are coded for HDR, with PQ or HLG.
        scratch_bytes: Memory that decoding takes for one part of the file, such as a large tile, beside the pixels.
        file_bytes: Size of the file, which is held in memory while it is decoded; 0 where unknown.
    """

    format: str
    width: int
    height: int
    channels: int
    has_alpha: bool
    dtype: str
    hdr: bool = field(default=False, repr=False, compare=False)
    scratch_bytes: int = field(default=0, repr=False, compare=False)
    file_bytes: int = field(default=0, repr=False, compare=False)

    @property
    def pixels(self) -> int:
        """Width times height."""
        return self.width * self.height

    @property
    def nbytes(self) -> int:
        """Bytes of the decoded pixels with alpha."""
        return self.pixels * (self.channels + self.has_alpha) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a picture file says about the picture.

    Attributes:
        exif: A TIFF structure (without the ``Exif`` prefix of JPEG); its orientation is 1 and it has no thumbnail.
        xmp: An XMP packet; its ``tiff:Orientation`` is 1.
        icc: ICC profile of the pixels, byte for byte as in the file.
        photoshop: Photoshop image resources (they hold IPTC captions), without the thumbnail.
        dpi: Horizontal and vertical resolution [1/inch].
        comment: JPEG or GIF comment.
        text: Keyword and text of PNG text chunks.
        aspect: Horizontal and vertical pixel density without a unit, where they differ; only their ratio has a meaning.
        cicp: Colour primaries and transfer characteristics (ITU-T H.273) of pixels coded for HDR, with PQ or HLG;
            every other description of colours is an ICC profile.
        segments: Application segments of a JPEG that only the maker of its camera knows, as marker and content.
    """

    exif: bytes | None = None
    xmp: bytes | None = None
    icc: bytes | None = None
    photoshop: bytes | None = None
    dpi: tuple[float, float] | None = None
    comment: bytes | None = None
    text: tuple[tuple[str, str], ...] = ()
    aspect: tuple[int, int] | None = None
    cicp: tuple[int, int] | None = None
    segments: tuple[tuple[int, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class Encoding:
    """How a file was encoded, so that the result can be stored in the same class.

    Attributes:
        jpeg_tables: Quantisation table (64 numbers, row by row) of each colour component.
        jpeg_subsampling: ``"4:4:4"``, ``"4:2:2"``, ``"4:2:0"``, ``"4:4:0"``, ``"4:1:1"``, ``"4:1:0"``, ``"4:4:1"`` or
            ``"unusual"``.
        jpeg_progressive: Whether the JPEG was progressive.
        lossless: Whether a WebP was lossless; ``None`` for other formats.
        tiff_compression: ``"none"``, ``"lzw"``, ``"deflate"``, ``"zstd"`` or the name of one that cannot be written.
        premultiplied: Whether the colours of a TIFF were stored multiplied by alpha.
        unspecified_alpha: Whether a TIFF did not say what its extra channel is.
        nodata: Value of the pixels of a TIFF that hold nothing (GDAL_NODATA), in every channel.
        png_chunks: PNG chunks that hold for the result too, such as those of the colour space (gAMA, cHRM, sRGB, cICP)
            and unknown ones that may be copied; as name and content.
    """

    jpeg_tables: tuple[tuple[int, ...], ...] | None = None
    jpeg_subsampling: str | None = None
    jpeg_progressive: bool = False
    lossless: bool | None = None
    tiff_compression: str | None = None
    premultiplied: bool = False
    unspecified_alpha: bool = False
    nodata: float | None = None
    png_chunks: tuple[tuple[bytes, bytes], ...] = ()


@dataclass(slots=True)
class Picture:
    """A decoded picture with everything needed to store its restored form in the same class of file.

    Attributes:
        pixels: (H, W, 3) RGB or (H, W) grey; uint8, uint16 or float32; upright, C-contiguous, writable, owned; values
            as in the file.
        alpha: (H, W) of the type of ``pixels``, or ``None``. Colours are not multiplied by it.
        format: Format of the file it came from.
        metadata: What the file says about the picture.
        encoding: How the file was encoded.
        notes: One short sentence for each thing that could not be kept.
        white: The value that stands for white; ``None`` for that of the type: 255, 65535 or 1.
    """

    pixels: Pixels
    alpha: Pixels | None
    format: str
    metadata: Metadata = field(default_factory=Metadata)
    encoding: Encoding = field(default_factory=Encoding)
    notes: tuple[str, ...] = ()
    white: float | None = None

    def hidden(self) -> NDArray[np.bool_] | None:
        """Pixels that show nothing (H, W): alpha 0, GDAL_NODATA, NaN and infinity; ``None`` where all show."""
        alpha = None if self.encoding.unspecified_alpha else self.alpha
        return hidden_pixels(self.pixels, alpha, self.encoding.nodata)

    @property
    def info(self) -> ImageInfo:
        """Size and type of this picture."""
        height, width = self.pixels.shape[:2]
        channels = 1 if self.pixels.ndim == 2 else 3
        return ImageInfo(self.format, width, height, channels, self.alpha is not None, str(self.pixels.dtype))


@dataclass(slots=True)
class Decoded:
    """What a reader of one format returns: pixels as stored, orientation not yet applied."""

    pixels: Pixels
    alpha: Pixels | None = None
    orientation: int | None = None  # None: as the EXIF data says
    turned: bool = False  # whether the decoder has changed width and height round already
    metadata: Metadata = field(default_factory=Metadata)
    encoding: Encoding = field(default_factory=Encoding)
    notes: list[str] = field(default_factory=list)


class Source:
    """An opened picture file or bytes, how to call it in messages, and what its metadata may inflate to."""

    def __init__(self, file: BinaryIO, name: str, suffix: str, max_metadata: int = METADATA_LIMIT) -> None:
        self.file, self.name, self.suffix = file, name, suffix
        self.budget = Budget(max_metadata)
        self.header: Any = None  # what a reader's identify has found out, so that its read does not inflate it again
        self.size = file.seek(0, io.SEEK_END)
        self._data: bytes | None = None

    def data(self) -> bytes:
        """The whole content; read once."""
        if self._data is None:
            self.file.seek(0)
            self._data = self.file.read()
        return self._data

    def start(self, count: int = 64) -> bytes:
        """The first bytes."""
        return self.read_at(0, count)

    def read_at(self, offset: int, count: int) -> bytes:
        """Up to ``count`` bytes from ``offset`` on."""
        self.file.seek(offset)
        return self.file.read(count)

    def note_on_tail(self, end: int) -> list[str]:
        """A note on what stands behind the picture, unless it is blank."""
        if self.read_at(end, self.size).strip(b"\0\r\n\t "):
            return [f"{self.size - end} bytes behind the picture were dropped."]
        return []

    def truncated(self) -> ImageDecodeError:
        """The error for a file that ends too early."""
        return ImageDecodeError(f"{self.name} is truncated: it ends before the picture does; copy it again.")

    def damaged(self, what: str = "its contents cannot be decoded") -> ImageDecodeError:
        """The error for a file that cannot be decoded."""
        return ImageDecodeError(f"{self.name} is damaged: {what}; copy it again or repair it.")

    def check_size(self, width: int, height: int, max_pixels: int | None) -> None:
        """Refuse sizes of zero and pictures over the limit."""
        if width <= 0 or height <= 0:
            raise self.damaged(f"its header claims {width} x {height} pixels")
        if max_pixels is not None:
            check_pixels(self.name, width, height, max_pixels)


@contextmanager
def open_source(source: str | Path | bytes, max_metadata: int = METADATA_LIMIT) -> Iterator[Source]:
    """Open a path or wrap bytes, and make one sentence of whatever goes wrong.

    Raises:
        ImageDecodeError: The file system refuses it, or a decoder does; those raise errors of every kind.
        ImageTooLargeError: It says more about its picture than ``max_metadata`` where no part can be left out.
    """
    file: BinaryIO
    if isinstance(source, bytes | bytearray | memoryview):
        file, name, suffix = io.BytesIO(source), "The picture", ""
    else:
        path = Path(source)
        name, suffix = str(path), path.suffix.lower()
        try:
            mode = path.stat().st_mode
            if stat.S_ISREG(mode):
                # it may have become a pipe meanwhile, which must not keep us waiting
                waitless = getattr(os, "O_NONBLOCK", 0)
                file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | waitless))  # noqa: SIM115
                mode = os.fstat(file.fileno()).st_mode
                if not stat.S_ISREG(mode):
                    file.close()
            elif stat.S_ISDIR(mode):
                raise IsADirectoryError
        except FileNotFoundError as error:
            raise ImageDecodeError(f"{path} does not exist; check the path.") from error
        except IsADirectoryError as error:
            raise ImageDecodeError(f"{path} is a folder, not a picture; name a file.") from error
        except PermissionError as error:
            raise ImageDecodeError(f"{path} cannot be read: permission denied; change its permissions.") from error
        except (OSError, ValueError) as error:
            raise ImageDecodeError(f"{path} cannot be read: {error}; check the path.") from error
        if not stat.S_ISREG(mode):  # it might never end
            raise ImageDecodeError(f"{path} is a pipe or a device, not a file; save the picture to a file first.")
    with file:
        try:
            opened = Source(file, name, suffix, max_metadata)
        except OSError as error:
            raise ImageDecodeError(f"{name} cannot be read: {error.strerror or error}; check the disk.") from error
        try:
            yield opened
        except (UnhazeError, MemoryError):
            raise
        except TooMuchError as error:
            raise ImageTooLargeError(
                f"{name} says more about its picture than {opened.budget.limit >> 20} MB; raise max_memory "
                "if you trust the file."
            ) from error
        except Exception as error:
            raise opened.damaged() from error
