"""The format of a file, from its first bytes; its name decides nothing."""

from __future__ import annotations

from unhaze.errors import ImageDecodeError, UnsupportedImageError
from unhaze.images._picture import Source
from unhaze.images.video_files import VIDEO_HEAD, is_video, video_sentence

__all__ = ["format_of"]

_RAW = (b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"\0MRM", b"FOVb", b"IIII", b"HEAPCCDR")
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
_OTHER_KINDS = {
    b"\0\0\0\x0cjP  ": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"\0\0\0\x0cJXL ": "JPEG XL",
    b"\xff\x0a": "JPEG XL",
    b"8BPS": "Photoshop",
    b"\x76\x2f\x31\x01": "OpenEXR",
    b"#?RADIANCE": "Radiance HDR",
    b"gimp xcf": "GIMP",
    b"%PDF": "PDF",
    b"<svg": "SVG",
    b"SIMPLE  =": "FITS",
    b"PF": "float map (PFM)",
    b"Pf": "float map (PFM)",
    b"P7": "PAM",
}


def format_of(source: Source) -> str:
    """Name of the format of a file; for camera raw, which is mostly a TIFF, its directories decide too.

    Raises:
        ImageDecodeError: The file is empty, or is no picture.
        UnsupportedImageError: It is of a kind that is not handled, or a video.
    """
    start = source.start()
    if not start:
        raise ImageDecodeError(f"{source.name} is empty; copy it again.")
    if start[:3] == b"\xff\xd8\xff":
        return "jpeg"
    if start[:8] == b"\x89PNG\r\n\x1a\n":
        return "png"
    if start[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        from unhaze.images._tiff import is_raw  # takes its time, which no other format needs

        return "raw" if is_raw(source) else "tiff"
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "webp"
    if start[:2] == b"BM" and len(start) > 14:
        return "bmp"
    if start[:6] in (b"GIF87a", b"GIF89a"):
        return "gif"
    if start[:1] == b"P" and start[1:2] in b"123456" and start[2:3].isspace():
        return "ppm"
    if start[4:8] == b"ftyp":
        if (format := _format_of_brands(source)) is not None:
            return format
    elif start.startswith(_RAW) or start[6:14] == b"HEAPCCDR":
        return "raw"
    elif start.lstrip(b"\0\r\n\t ").startswith(b"\xff\xd8\xff"):
        return "jpeg"
    for signature, kind in _OTHER_KINDS.items():
        if start.startswith(signature):
            raise UnsupportedImageError(
                f"{source.name} is a {kind} file, which is not read; convert it to PNG or TIFF."
            )
    if is_video(source.start(VIDEO_HEAD), source.suffix):
        raise UnsupportedImageError(video_sentence(source.name, source.suffix))
    raise ImageDecodeError(f"{source.name} is not a picture of a known format; check what it is.")


def _format_of_brands(source: Source) -> str | None:
    """ISO base media file format: the brands say what is inside (ISO/IEC 23008-12, AV1 Image File Format)."""
    length = int.from_bytes(source.start(4), "big")
    box = source.start(min(max(length, 16), 4096))
    brands = {box[8:12], *(box[i : i + 4] for i in range(16, len(box) - 3, 4))}
    if box[8:12] == b"avis":
        raise UnsupportedImageError(f"{source.name} is an animated AVIF; extract the frames first.")
    if b"avif" in brands:
        return "avif"
    if box[8:12] == b"crx ":
        return "raw"
    return "heif" if brands & _HEIF_BRANDS else None
