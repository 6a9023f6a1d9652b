"""Which encoder writes a video, and with what settings: that of the input, or one the user names."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from unhaze.errors import UnknownNameError, UnsupportedImageError, UsageError
from unhaze.video.containers import import_av
from unhaze.video.pixels import REPACKED, FramePixels, plain_format
from unhaze.video.sources import PICTURE_CODECS

if TYPE_CHECKING:
    from unhaze.video.containers import VideoInfo

__all__ = ["CODECS", "Encoding", "can_be_written", "choose_encoding", "container_for", "describe"]

CODECS = ("h264", "hevc", "av1", "vp9", "prores", "ffv1")
"""What can be asked for by name; the codec of the input may be another one."""

_ENCODERS = {
    "h264": "libx264",
    "hevc": "libx265",
    "av1": "libsvtav1",
    "vp9": "libvpx-vp9",
    "vp8": "libvpx",
    "prores": "prores_ks",
}
# constant quality and pace where the user names none; H.264 at 18 can hardly be told from its source
_CRF = {"libx264": 18, "libx264rgb": 18, "libx265": 20, "libsvtav1": 24, "libvpx-vp9": 24, "libvpx": 10}
_HIGHEST_CRF = {"libx264": 51, "libx264rgb": 51, "libx265": 51, "libsvtav1": 63, "libvpx-vp9": 63, "libvpx": 63}
_NAMED_PRESETS = (
    "ultrafast",
    "superfast",
    "veryfast",
    "faster",
    "fast",
    "medium",
    "slow",
    "slower",
    "veryslow",
)
_QUALITY_SCALE = 118  # FF_QP2LAMBDA: unit of the quality of FFmpeg's own encoders
_PRORES_PROFILES = {"Proxy": 0, "LT": 1, "Standard": 2, "HQ": 3, "4444": 4, "XQ": 5}
_CONTAINERS = {
    ".3gp": "3gp",
    ".avi": "avi",
    ".flv": "flv",
    ".m2ts": "mpegts",
    ".m4v": "mp4",
    ".mkv": "matroska",
    ".mov": "mov",
    ".mp4": "mp4",
    ".mpg": "vob",
    ".mts": "mpegts",
    ".ts": "mpegts",
    ".webm": "webm",
    ".wmv": "asf",
    ".y4m": "yuv4mpegpipe",
    ".nut": "nut",
    ".3g2": "3g2",
    ".divx": "avi",
    ".f4v": "mp4",
    ".insv": "mp4",
    ".lrv": "mp4",
    ".m2t": "mpegts",
    ".mod": "vob",
    ".mpeg": "vob",
    ".qt": "mov",
    ".tod": "mpegts",
    ".vob": "vob",
}


_INSTEAD = {"webm": ("vp9", "av1"), "mov": ("h264", "hevc", "prores"), "matroska": ("h264", "hevc", "ffv1")}
"""What is tried, in this order, where the codec of the input cannot be written; in other kinds of files H.264, HEVC."""

_INSTEAD_WITH_ALPHA = {"webm": ("vp9",), "mov": ("prores",), "matroska": ("vp9", "ffv1")}
_STILL_CODECS = ("gif", "apng", "webp")  # whose RGB becomes what every player shows, as that of pictures does
_TRUSTED = (*_CRF, "prores_ks", "ffv1", "mpeg4", "mpeg2video", "mjpeg")  # that it can be read need not be tried


class _UnfitError(UnsupportedImageError):
    """A codec cannot be written.

    Args:
        reason: Why, as the beginning of a sentence that ends in what is written in its place.
        message: What is told where nothing is.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Encoding:
    """How frames are coded.

    Attributes:
        encoder: Name of FFmpeg's encoder.
        pixel_format: Layout of the frames that it is given.
        options: What the encoder is told.
        notes: Sentences for the user on what could not stay as it was.
        layout: Layout that frames are made in where it is not that of the input: pictures become video, or video
            becomes pictures.
    """

    encoder: str
    pixel_format: str
    options: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    layout: str | None = None

    def pixels(self, info: VideoInfo) -> FramePixels | None:
        """What makes frames of pictures, where ``layout`` is not that of the input."""
        if self.layout is None:
            return None
        jpeg = self.encoder == "mjpeg"
        return FramePixels(
            self.layout,
            info.width,
            info.height,
            matrix="bt601" if jpeg else "bt709",
            full_range=jpeg or "gray" in self.layout,
            max_pixels=None,
        )

    @property
    def quicktime_tag(self) -> str | None:
        """Four letters by which QuickTime tells the variants of ProRes; ``None`` for other codecs."""
        tags = ("apco", "apcs", "apcn", "apch", "ap4h", "ap4x")
        return tags[int(self.options["profile"])] if self.encoder == "prores_ks" else None


def container_for(suffix: str) -> str:
    """FFmpeg's name of the kind of file for an ending.

    Raises:
        UsageError: Videos have no such ending.
    """
    try:
        return _CONTAINERS[suffix.lower()]
    except KeyError:
        raise UsageError(
            f"A video cannot be written to a file that ends in {suffix or 'nothing'!r}; "
            "name one that ends in .mp4, .mov, .mkv, .webm, .avi or .ts."
        ) from None


def can_be_written(suffix: str) -> bool:
    """Whether videos are written to files with this ending."""
    return suffix.lower() in _CONTAINERS


def choose_encoding(
    info: VideoInfo,
    codec: str | None = None,
    crf: float | None = None,
    preset: str | None = None,
    *,
    pictures: str | None = None,
    container: str | None = None,
    works: Callable[[Encoding], bool] | None = None,
) -> Encoding:
    """The encoder for the frames of ``info``.

    Args:
        info: The input.
        codec: One of ``CODECS``; ``None`` for that of the input.
        crf: Constant quality, lower is better; ``None`` for one that can hardly be told from the source.
        preset: Pace of the encoder.
        pictures: Ending of the numbered pictures that are written; ``None`` for a video.
        container: FFmpeg's name of the kind of file; where it cannot hold the codec of the input, another one is
            chosen, which is told.
        works: Whether what a rare encoder makes can be read; where not, another codec is chosen, which is told.

    Raises:
        UsageError: There is no such codec or preset, or the codec has no such setting.
        UnsupportedImageError: The encoder cannot hold frames of this depth or chroma sampling, or the container not
            what the encoder makes.
    """
    if codec is not None and codec not in CODECS:
        raise UnknownNameError("video codec", codec, CODECS)
    if pictures is not None:
        return _for_pictures(info, pictures, codec)
    wanted = codec or ("h264" if info.container == "image2" else info.codec)
    try:
        return _encoding(info, wanted, crf, preset, container, works)
    except _UnfitError as unfit:
        if codec is not None or container is None:
            raise
        with_alpha = _INSTEAD_WITH_ALPHA.get(container, ()) if info.has_alpha else ()
        without = _INSTEAD.get(container, ("h264", "hevc"))
        if info.pixels(None).bits > 8:  # of H.264 few players know more
            without = tuple(sorted(without, key=lambda each: each == "h264"))
        if "ffv1" in without and info.codec not in _STILL_CODECS and import_av().Codec(info.codec).lossless:
            without = ("ffv1", *without)  # what was kept without loss stays so
        for instead in (*with_alpha, *without):
            other = info if instead in with_alpha else replace(info, has_alpha=False)
            with contextlib.suppress(_UnfitError):
                encoding = _encoding(other, instead, crf, preset, container, works, replaces=True)
                notes = [f"{unfit.reason}, so the result is {instead}; --codec names another."]
                if info.has_alpha and not other.has_alpha:
                    notes.append(f"{instead} in a file of the kind {container} holds no alpha, which is lost.")
                return replace(encoding, notes=(*notes, *encoding.notes))
        raise


def _encoding(
    info: VideoInfo,
    wanted: str,
    crf: float | None,
    preset: str | None,
    container: str | None,
    works: Callable[[Encoding], bool] | None,
    replaces: bool = False,
) -> Encoding:
    """The encoder that writes the codec ``wanted``; ``replaces``: in the place of that of the input."""
    av, notes = import_av(), []
    name = _ENCODERS.get(wanted, wanted)
    hint = "name another one with -o, such as a file that ends in .mkv, or choose another --codec."
    if container is not None and not _holds(container, name):
        message = f"A file of the kind {container} cannot hold {wanted}; {hint}"
        raise _UnfitError(f"{container} cannot hold {wanted}", message)
    layout, other = plain_format(info.pixel_format), None
    if replaces and not info.has_alpha:
        for old, new in (("yuva", "yuv"), ("gbrap", "gbrp"), ("rgba64", "rgb48"), ("rgba", "rgb24")):
            layout = layout.replace(old, new)
    stills = info.container == "image2" or (replaces and info.codec in _STILL_CODECS)
    mixed = replaces and info.has_alpha and layout == "rgba"  # of which encoders of video know YUV only
    if (stills or mixed) and name == "prores_ks":  # what every player shows, which RGB is not
        layout = other = "yuva444p10le" if info.has_alpha else "yuv422p10le"
    elif (stills or mixed) and info.has_alpha and name.startswith("libvpx"):
        layout = other = "yuva420p"
    elif (stills or mixed) and name in _CRF:
        odd = info.width % 2 or info.height % 2
        # 10 bits of H.264 play nowhere, and of VP9 there is no encoder here
        deep = info.pixels(None).bits > 8 and name in ("libx265", "libsvtav1")
        layout = other = f"yuv4{'44' if odd and name != 'libsvtav1' else '20'}p{'10le' if deep else ''}"
    elif replaces and layout != plain_format(info.pixel_format):
        other = layout
    if name == "libx264" and (layout.startswith("gbr") or layout == "rgb24"):
        name = "libx264rgb"
    try:
        known = av.Codec(name, "w")
    except ValueError:
        reason = f"{wanted} can be read but not written"
        raise _UnfitError(reason, f"{reason}; {hint}") from None
    formats = [each.name for each in known.video_formats or []]
    chosen = _fitting(layout, formats)
    if name == "rawvideo" and other is None and info.pixel_format in REPACKED:
        chosen = info.pixel_format
    if chosen is None and wanted == "prores" and not layout.startswith("gray"):
        chosen = "yuva444p10le" if info.has_alpha else "yuv444p10le" if "444" in layout else "yuv422p10le"
        if layout.startswith(("rgb", "gbr")):
            other = chosen
        if info.codec != "prores":  # which decodes to 12 bits and is written from 10 by every program
            notes.append(f"ProRes holds no {layout}; the result is {chosen}.")
    if chosen is None:
        raise _UnfitError(
            f"{wanted} cannot be written with {layout}",
            f"{wanted} cannot hold frames of {info.path} ({layout}) without loss of depth or colour; choose another "
            "codec, such as --codec ffv1 with -o NAME.mkv.",
        )
    encoding = Encoding(name, chosen, _options(name, info, crf, preset, wanted), tuple(notes), other)
    if name == "libx264rgb":
        encoding = replace(encoding, pixel_format="rgb24")
    if works is not None and (name not in _TRUSTED or info.has_alpha) and not works(encoding):
        reason = f"{wanted} ({chosen}) in a file of the kind {container} could not be read again"
        raise _UnfitError(reason, f"{reason}; {hint}")
    return encoding


def _holds(container: str, encoder: str) -> bool:
    """Whether a kind of file can hold what an encoder makes."""
    if container == "yuv4mpegpipe":  # which PyAV believes to hold all
        return encoder == "rawvideo"
    av = import_av()
    try:
        with av.open(io.BytesIO(), "w", format=container) as trial:
            trial.add_stream(encoder, rate=25)
    except ValueError as error:
        # an encoder that does not exist is told of elsewhere
        return "does not support" not in str(error)
    return True


def _for_pictures(info: VideoInfo, ending: str, codec: str | None) -> Encoding:
    """How frames become picture files, each of which is one packet."""
    if codec is not None:
        raise UsageError(f"--codec is for videos; what numbered pictures are is said by their ending, {ending}.")
    name = PICTURE_CODECS[ending.lower()]
    if name not in ("png", "mjpeg", "tiff"):
        raise UsageError(f"Numbered pictures are written as .png, .jpg or .tif, not as {ending}.")
    deep = info.pixels(None).bits > 8 and name != "mjpeg"
    color = "rgba" if info.has_alpha else "rgb"
    if name == "mjpeg":
        layout, given = "yuv444p", "yuvj444p"
    elif "gray" in info.pixel_format:
        layout = given = "gray16le" if deep else "gray"
    else:
        depth = {"rgb": ("24", "48le"), "rgba": ("", "64le")}[color][int(deep)]
        layout = given = f"{color}{depth}"
    if name == "png" and deep:
        given = layout.replace("le", "be")
    options = {"flags": "+qscale", "global_quality": str(2 * _QUALITY_SCALE)} if name == "mjpeg" else {}
    notes = ("JPEG files hold no alpha, which is lost.",) if info.has_alpha and name == "mjpeg" else ()
    same = layout == plain_format(info.pixel_format) and "gray" not in layout
    return Encoding(name, given, options, notes, None if same else layout)


def _fitting(layout: str, formats: list[str]) -> str | None:
    """The layout among ``formats`` that holds all of ``layout``."""
    if not formats or layout in formats:
        return layout
    same = {
        "rgb24": ("bgr0", "gbrp", "bgr24"),
        "rgba": ("bgra", "gbrap", "argb"),
        "gbrp": ("rgb24", "bgr0"),
        "gbrap": ("rgba", "bgra"),
        "rgb48le": ("rgb48be", "gbrp16le"),
        "rgba64le": ("rgba64be", "gbrap16le"),
        "gray16le": ("gray16be",),
        "gbrp16le": ("rgb48le", "rgb48be"),
    }
    others = [*same.get(layout, ()), layout.replace("yuv", "yuvj")]
    return next((each for each in others if each in formats), None)


def _options(name: str, info: VideoInfo, crf: float | None, preset: str | None, codec: str) -> dict[str, str]:
    if crf is not None and name not in _CRF:
        raise UsageError(f"{codec} has no --crf; leave it out, or choose h264, hevc, av1 or vp9 with --codec.")
    if crf is not None and not 0 <= crf <= _HIGHEST_CRF[name]:
        raise UsageError(f"--crf is {crf:g}, but must lie between 0 and {_HIGHEST_CRF[name]} for {codec}.")
    options = {"crf": f"{_CRF[name] if crf is None else crf:g}"} if name in _CRF else {}
    if name in ("libx264", "libx264rgb", "libx265"):
        if preset is not None and preset not in _NAMED_PRESETS:
            raise UnknownNameError("preset", preset, _NAMED_PRESETS)
        options["preset"] = preset or "veryfast"
        if name == "libx265":
            options["x265-params"] = "log-level=none"
    elif name in ("libsvtav1", "libvpx-vp9", "libvpx"):
        pace = preset or ("8" if name == "libsvtav1" else "5")
        if not pace.isdecimal() or int(pace) > 13:
            raise UsageError(f"--preset is {preset!r}, but for {codec} a number: 0 is slowest, 8 fast.")
        if name == "libsvtav1":
            options["preset"] = pace
        else:
            options |= {"cpu-used": pace, "deadline": "good", "row-mt": "1", "b": "0"}
            if info.has_alpha:
                options["auto-alt-ref"] = "0"  # frames that are never shown have no alpha
    elif preset is not None:
        raise UsageError(f"{codec} has no --preset; leave it out.")
    if name == "prores_ks":
        profile = 4 if info.has_alpha or "444" in info.pixel_format else _PRORES_PROFILES.get(info.profile or "", 3)
        options |= {"profile": str(profile), "vendor": "apl0"} | ({"alpha_bits": "16"} if info.has_alpha else {})
    elif name == "dnxhd":  # of which the resolution independent kind needs no rate
        known = (info.profile or "").lower().replace(" ", "_")
        options["profile"] = known if known.startswith("dnxhr") else "dnxhr_hq"
    elif name == "ffv1":
        options |= {"level": "3", "slicecrc": "1"}
    elif name in (
        "mpeg4",
        "mpeg2video",
        "mpeg1video",
        "mjpeg",
        "msmpeg4v2",
        "msmpeg4v3",
        "wmv1",
        "wmv2",
        "flv1",
        "h263",
    ):
        options |= {"flags": "+qscale", "global_quality": str(2 * _QUALITY_SCALE), "strict": "-1"}
    return options


def describe(info: VideoInfo, encoding: Encoding) -> dict[str, Any]:
    """Settings of the encoder's context that say what the samples mean."""
    if (layout := encoding.layout) is not None:
        jpeg, yuv = encoding.encoder == "mjpeg", layout.startswith("yuv")
        matrix = 5 if jpeg else 1 if yuv else 0
        return {"color_primaries": 1, "color_trc": 1, "colorspace": matrix, "color_range": 1 if yuv and not jpeg else 2}
    matrix = info.matrix if info.codec != "vp8" else 2  # which has one matrix and no place to say so
    if encoding.pixel_format.startswith(("rgb", "gbr", "bgr")) and matrix != 2:
        matrix = 0  # lossless JPEG files say that of YUV
    return {
        "color_primaries": info.primaries,
        "color_trc": info.transfer,
        "colorspace": matrix,
        "color_range": 2 if info.full_range else info.color_range,
    }
