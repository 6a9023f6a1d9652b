"""Video: files, raw streams, order over time, and smoothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unhaze.lazy import loads_on_use

if TYPE_CHECKING:
    from unhaze.video.containers import VideoInfo, VideoReader
    from unhaze.video.dehaze import VideoResult, dehaze_video, dehazed_frames
    from unhaze.video.plan import VideoPlan

__all__ = ["VideoInfo", "VideoPlan", "VideoReader", "VideoResult", "dehaze_video", "dehazed_frames"]

__getattr__ = loads_on_use(
    __name__,
    {
        "VideoInfo": "unhaze.video.containers",
        "VideoPlan": "unhaze.video.plan",
        "VideoReader": "unhaze.video.containers",
        "VideoResult": "unhaze.video.dehaze",
        "dehaze_video": "unhaze.video.dehaze",
        "dehazed_frames": "unhaze.video.dehaze",
    },
)
