"""The transmission of a video as a second one: white where nothing hides the scene, black where haze hides it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from unhaze.errors import UsageError
from unhaze.images.atomic import atomic_output
from unhaze.restore.strips import transmission_strips
from unhaze.video.encoding import choose_encoding, container_for, describe
from unhaze.video.muxing import Cut, write_video
from unhaze.video.pixels import FramePixels, turned
from unhaze.video.plan import VideoPlan
from unhaze.video.segments import FramesFormat, Workshop, parts_folder
from unhaze.video.sources import is_pattern

if TYPE_CHECKING:
    from av import VideoFrame
    from numpy.typing import NDArray

    from unhaze.restore.dehazer import Dehazer
    from unhaze.restore.haze_field import HazeField
    from unhaze.video.containers import VideoInfo

    Pixels = NDArray[Any]

__all__ = ["TransmissionVideo", "WithTransmission", "transmission_target"]

_HOLDS_H264 = ("3gp", "avi", "flv", "matroska", "mov", "mp4", "mpegts")


def transmission_target(target: Path) -> Path:
    """Where the transmission goes: beside the result.

    >>> transmission_target(Path("in-dehazed.mp4")).name
    'in-transmission.mp4'
    """
    if is_pattern(target):
        raise UsageError("The transmission is saved as a video; name a video with -o, not numbered pictures.")
    kind = container_for(target.suffix)
    ending = target.suffix if kind in (*_HOLDS_H264, "webm") else ".mkv"
    return target.with_name(f"{target.stem.removesuffix('-dehazed')}-transmission{ending}")


class WithTransmission:
    """Gives the transmission (H, W) float32 along with each restored frame.

    Args:
        dehazer: A model that finds haze.
    """

    def __init__(self, dehazer: Dehazer) -> None:
        self.dehazer = dehazer
        self.solve = dehazer.solve

    def apply(self, pixels: Pixels, field: HazeField) -> Any:
        """The restored frame and its transmission."""
        return self.dehazer.apply(pixels, field), transmission_strips(pixels, field)


class TransmissionVideo:
    """The second video while it is made; pieces are begun and closed along with those of the first.

    Args:
        info: The input.
        target: The first video.
        plan: How that is made.
        form: Size and times of its frames.
        job: What tells this work from others.
        turns: Quarters by which frames are turned.

    Attributes:
        path: Where it goes.

    Raises:
        OutputExistsError: It exists, and may not be replaced.
    """

    def __init__(
        self, info: VideoInfo, target: Path, plan: VideoPlan, form: FramesFormat, job: Mapping[str, Any], turns: int
    ) -> None:
        self.path, self._turns, self._info = transmission_target(target), turns, info
        # one that is there beside its parts was finished just before the run was stopped
        self._overwrites = plan.overwrite or (plan.resume and parts_folder(self.path).is_dir())
        self._kind = container_for(self.path.suffix)
        layout = "yuv444p" if info.width % 2 or info.height % 2 else "yuv420p"
        tagged = {"primaries": 1, "transfer": 1, "matrix": 1, "color_range": 1, "has_alpha": False}
        plain = replace(info, pixel_format=layout, container="", **tagged)  # type: ignore[arg-type]
        self._encoding = choose_encoding(plain, "vp9" if self._kind == "webm" else "h264")
        if self._kind in ("avi", "flv"):
            self._encoding.options["bf"] = "0"
        width, height = info.width, info.height
        if turns % 2:
            width, height = height, width
        self._form = replace(form, width=width, height=height, tags=describe(plain, self._encoding))
        self._pixels = FramePixels(layout, info.width, info.height, matrix="bt709", max_pixels=None)
        self.workshop = Workshop(self.path, job, resume=plan.resume, overwrite=plan.overwrite)

    def frame(self, transmission: NDArray[np.float32]) -> VideoFrame:
        """A frame of the transmission (H, W)."""
        gray = np.asarray(transmission * 255 + 0.5, np.uint8)
        return turned(self._pixels.to_frame(np.repeat(gray[..., None], 3, axis=2)), self._turns)

    def add(self, frame: VideoFrame, pts: int, shown: int = 0) -> None:
        """Code the next frame, shown at ``pts`` and, if it is the last, for ``shown``; 0 if that is not known."""
        self.workshop.add(frame, pts, self._encoding, self._form, shown)

    def write(self, cut: Cut | None, *, display_matrix: Any) -> None:
        """Make the video of all pieces."""
        with atomic_output(self.path, overwrite=self._overwrites) as temporary:
            write_video(
                self.workshop,
                None,
                temporary,
                self._kind,
                source=None,
                time_base=self._info.time_base,
                cut=cut,
                display_matrix=display_matrix,
                pixel_aspect=self._form.pixel_aspect,
            )
