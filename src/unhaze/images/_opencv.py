"""OpenCV's decoders and encoders, and its order of channels."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from unhaze.errors import ImageEncodeError, UnsupportedImageError
from unhaze.images._picture import Pixels, Source

__all__ = ["decode", "encode", "merge_bgr", "split_alpha"]


def decode(source: Source, flags: int) -> Pixels | None:
    """Decode the whole file; ``None`` where OpenCV cannot.

    Raises:
        UnsupportedImageError: The picture is larger than OpenCV's own limits.
    """
    try:
        return cv2.imdecode(np.frombuffer(source.data(), np.uint8), flags)
    except cv2.error as error:
        raise UnsupportedImageError(
            f"{source.name} is beyond the limits of OpenCV (2^30 pixels, 2^20 a side); make it smaller first."
        ) from error


def encode(suffix: str, stored: Pixels, parameters: Sequence[int] = ()) -> memoryview:
    """Encode (H, W) or (H, W, 3) BGR or (H, W, 4) BGRA.

    Raises:
        ImageEncodeError: OpenCV refuses.
    """
    try:
        done, buffer = cv2.imencode(suffix, stored, parameters)
    except cv2.error as error:
        raise ImageEncodeError(f"A picture of this size cannot be stored as {suffix}; choose TIFF.") from error
    assert done
    return memoryview(np.asarray(buffer).data)


def split_alpha(stored: Pixels, *, grey: bool) -> tuple[Pixels, Pixels | None]:
    """RGB or grey pixels and alpha of what :func:`decode` returned: (H, W), (H, W, 3) BGR or (H, W, 4) BGRA."""
    if stored.ndim == 2:
        return stored, None
    height, width, channels = stored.shape
    alpha = np.empty((height, width), stored.dtype) if channels == 4 else None
    if grey:
        assert alpha is not None
        pixels = np.empty_like(alpha)
        cv2.mixChannels([stored], [pixels, alpha], [0, 0, 3, 1])
        return pixels, alpha
    if alpha is None:
        return cv2.cvtColor(stored, cv2.COLOR_BGR2RGB, dst=stored), None
    pixels = np.empty((height, width, 3), stored.dtype)
    cv2.mixChannels([stored], [pixels, alpha], [0, 2, 1, 1, 2, 0, 3, 3])
    return pixels, alpha


def merge_bgr(pixels: Pixels, alpha: Pixels | None) -> Pixels:
    """BGR or BGRA for :func:`encode`, from RGB and alpha."""
    if alpha is None:
        return cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    stored = np.empty((*pixels.shape[:2], 4), pixels.dtype)
    cv2.mixChannels([pixels, alpha], [stored], [0, 2, 1, 1, 2, 0, 3, 3])
    return stored
