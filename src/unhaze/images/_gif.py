"""GIF with a single frame, read through Pillow."""

from __future__ import annotations

from PIL import GifImagePlugin

from unhaze.errors import UnsupportedImageError
from unhaze.images._picture import Decoded, ImageInfo, Source
from unhaze.images._pillow import decode_simple, open_simple, simple_info

__all__ = ["identify", "read"]


def identify(source: Source) -> ImageInfo:
    """Size and type from the header."""
    return simple_info("gif", open_simple(source, GifImagePlugin.GifImageFile))


def read(source: Source, max_pixels: int | None) -> Decoded:
    """Decode a GIF that is not animated."""
    image = open_simple(source, GifImagePlugin.GifImageFile)
    source.check_size(*image.size, max_pixels)
    if getattr(image, "is_animated", False):
        raise UnsupportedImageError(f"{source.name} is an animated GIF; extract the frames first.")
    return decode_simple(source, image, max_pixels)
