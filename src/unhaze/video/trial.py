"""Whether a rare encoder and a kind of file get along: made frames are written and read before any work is done."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from unhaze.errors import UnhazeError
from unhaze.video.containers import VideoInfo, VideoReader, import_av
from unhaze.video.encoding import Encoding, describe
from unhaze.video.muxing import write_video
from unhaze.video.pixels import FramePixels
from unhaze.video.segments import FramesFormat, Workshop

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["comes_back"]

_FRAMES = 3
_MEAN_DIFFERENCE = 16  # levels of 8 bits; no codec that keeps a picture changes a smooth one by more


def comes_back(info: VideoInfo, encoding: Encoding, kind: str, width: int, height: int) -> bool:
    """Whether frames coded in this way and written to a file of this kind can be read, as what they were.

    Args:
        info: The input.
        encoding: How frames are coded.
        kind: FFmpeg's name of the kind of file.
        width: Width of a frame [px].
        height: Height of a frame [px].
    """
    av = import_av()
    info = replace(info, width=width, height=height)
    pixels = encoding.pixels(info) or info.pixels(None)
    form = FramesFormat(width, height, info.rate, info.time_base, None, describe(info, encoding))
    step = max(1, round(1 / (info.rate * info.time_base)))
    # in colour, brighter to the lower right, and not the same all over
    ramp = np.linspace(40, 200, height)[:, None, None] / 2 + np.linspace(40, 200, width)[None, :, None] / 2
    picture: NDArray[np.uint8] = np.asarray(ramp * np.array([1.0, 0.9, 0.7]), np.uint8)
    if pixels.name.startswith("gray"):
        picture = np.ascontiguousarray(picture[..., 0])
    with tempfile.TemporaryDirectory(prefix="unhaze-") as folder:
        target = Path(folder) / "trial"
        try:
            workshop = Workshop(target, {}, resume=False, overwrite=False)
            for number in range(_FRAMES):
                workshop.add(pixels.to_frame(pixels.fitted(picture)), number * step, encoding, form)
            workshop.finish_piece(whole=False)
            tag = encoding.quicktime_tag if kind == "mov" else None
            write_video(workshop, None, target, kind, source=None, time_base=info.time_base, codec_tag=tag)
            with VideoReader(target) as reader:
                found, read = reader.info, reader.info.pixels(None)
                views = [read.to_pixels(timed.frame) for timed in reader.frames()]
                if reader.broken or len(views) != _FRAMES or (found.width, found.height) != (width, height):
                    return False
        except (UnhazeError, av.FFmpegError, OSError, ValueError):
            return False
    if _kind(read) != _kind(pixels) or read.bits < pixels.bits:
        return False
    seen, made = views[-1].astype(float), picture.astype(float)
    return bool(np.abs(seen / (257 if read.bits > 8 else 1) - made).mean() < _MEAN_DIFFERENCE)


def _kind(pixels: FramePixels) -> tuple[str, bool]:
    """Grey, RGB or YUV with its subsampling, and whether there is alpha; in whatever order and depth."""
    name = pixels.name.replace("yuva", "yuv")
    kind = next((each for each in ("gray", "gbr", "rgb") if name.startswith(each)), name[: len("yuv420")])
    return kind.replace("gbr", "rgb"), pixels.has_alpha
