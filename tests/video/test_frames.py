from __future__ import annotations

import io
import os
import threading
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.color import rgb2ycbcr, ycbcr2rgb

from unhaze.errors import (
    ImageDecodeError,
    ImageTooLargeError,
    ImageValueError,
    UnhazeError,
    UnsupportedImageError,
    UsageError,
)
from unhaze.video.frames import (
    INPUT_FORMATS,
    Frame,
    FrameConverter,
    FrameReader,
    FrameWriter,
    PixelFormat,
    StreamInfo,
    parse_size,
)

TAGS_420 = ["420jpeg", "420mpeg2", "420paldv", "420p10"]
TAGS = [*TAGS_420, "420", "422", "444", "mono", "422p10", "444p10", "420p12", "444p16", "mono10", "mono16"]


def y4m(tag: str = "444", width: int = 4, height: int = 2, extra: str = "", frames: list[bytes] | None = None) -> bytes:
    head = f"YUV4MPEG2 W{width} H{height} F30000:1001 Ip A1:1 C{tag}{extra}\n".encode()
    return head + b"".join(b"FRAME\n" + data for data in frames or [])


def open_y4m(*args, **kwargs) -> StreamInfo:
    return FrameReader(io.BytesIO(y4m(*args, **kwargs))).info


def noise_frame(info: StreamInfo, seed: int = 0) -> Frame:
    top = 1 << info.pixel_format.bits
    count = info.frame_bytes // info.pixel_format.dtype.itemsize
    samples = np.random.default_rng(seed).integers(0, top, count).astype(info.pixel_format.dtype)
    return Frame(samples.tobytes(), b"FRAME\n")


def yuv_frame(*planes: np.ndarray, dtype: str = "u1") -> Frame:
    return Frame(b"".join(plane.astype(dtype).tobytes() for plane in planes))


def planes_of(frame: Frame, info: StreamInfo) -> list[np.ndarray]:
    samples, out = np.frombuffer(frame.data, info.pixel_format.dtype), []
    for shape in info.pixel_format.plane_shapes(info.height, info.width):
        out.append(samples[: int(np.prod(shape))].reshape(shape).astype(float))
        samples = samples[int(np.prod(shape)) :]
    return out


# --- reading and writing ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tag", TAGS)
@pytest.mark.parametrize("size", [(6, 4), (5, 3), (1, 1)])
def test_bytes_leave_as_they_came(tag, size):
    info = open_y4m(tag, *size)
    stream = info.header + b"FRAME Ixyz XA=b\n" + noise_frame(info, 1).data + b"FRAME\n" + noise_frame(info, 2).data
    reader, out = FrameReader(io.BytesIO(stream)), io.BytesIO()
    writer = FrameWriter(out, reader.info)
    for frame in reader:
        writer.write(frame)
    assert out.getvalue() == stream


@pytest.mark.parametrize(
    ("name", "bytes_per_pixel"), [("rgb24", 3), ("bgr24", 3), ("gray", 1), ("rgb48le", 6), ("gray16le", 2)]
)
def test_raw_frames_leave_as_they_came(name, bytes_per_pixel):
    stream = os.urandom(3 * 5 * 7 * bytes_per_pixel)
    reader, out = FrameReader(io.BytesIO(stream), name, (7, 5)), io.BytesIO()
    frames = list(reader)
    writer = FrameWriter(out, reader.info)
    for frame in frames:
        writer.write(frame)
    assert len(frames) == 3
    assert out.getvalue() == stream


def test_frame_sizes_follow_the_y4m_description():
    sizes = {tag: open_y4m(tag, 5, 3).frame_bytes for tag in ("420jpeg", "422", "444", "mono", "420p10", "mono12")}
    assert sizes == {"420jpeg": 27, "422": 33, "444": 45, "mono": 15, "420p10": 54, "mono12": 30}


def test_frames_arrive_in_pieces_through_a_pipe():
    data = os.urandom(200_000)
    read_end, write_end = os.pipe()

    def send():
        with os.fdopen(write_end, "wb", buffering=0) as sink:
            for start in range(0, len(data), 7_001):
                sink.write(data[start : start + 7_001])

    sender = threading.Thread(target=send)
    sender.start()
    with os.fdopen(read_end, "rb", buffering=0) as source:
        frames = list(FrameReader(source, "gray", (1000, 100)))
    sender.join()
    assert b"".join(bytes(frame.data) for frame in frames) == data


def test_header_without_colour_space_means_420jpeg():
    info = FrameReader(io.BytesIO(b"YUV4MPEG2 W4 H2 F25:1\n")).info
    assert info.pixel_format.name == "420jpeg"
    assert not info.full_range


@pytest.mark.parametrize(
    ("tag", "extra", "full"),
    [
        ("420jpeg", "", False),
        ("420jpeg", " XCOLORRANGE=FULL", True),
        ("420jpeg", " XYSCSS=420JPEG XCOLORRANGE=LIMITED", False),
        ("mono", "", True),
        ("mono", " XCOLORRANGE=LIMITED", False),
    ],
)
def test_range(tag, extra, full):
    assert open_y4m(tag, extra=extra).full_range is full


@pytest.mark.parametrize(("letter", "interlaced"), [("p", False), ("?", False), ("t", True), ("b", True), ("m", True)])
def test_interlacing_is_reported(letter, interlaced):
    assert FrameReader(io.BytesIO(f"YUV4MPEG2 W4 H2 I{letter}\n".encode())).info.interlaced is interlaced


@pytest.mark.parametrize("missing", [1, 5, 12, 17])
@pytest.mark.parametrize("raw", [False, True])
def test_truncated_stream_gives_whole_frames_first(missing, raw):
    frames = [bytes([i] * 24) for i in range(3)]
    stream = (b"".join(frames) if raw else y4m("444", 4, 2, frames=frames))[:-missing]
    reader = FrameReader(io.BytesIO(stream), "rgb24" if raw else "auto", (4, 2) if raw else None)
    incoming = iter(reader)
    assert [bytes(next(incoming).data) for _ in range(2)] == frames[:2]
    with pytest.raises(ImageDecodeError, match=r"ends within frame 3, after \d+ of its 24 bytes; the 2 frames before"):
        next(incoming)


def test_a_cut_frame_header_is_a_truncated_frame():
    reader = FrameReader(io.BytesIO(y4m("mono", 2, 1, frames=[b"ab"]) + b"FRA"))
    with pytest.raises(ImageDecodeError, match="ends within frame 2, after 0 of its 2 bytes"):
        list(reader)


@pytest.mark.parametrize("junk", [b"JUNK\n", b"FRAMES\n", b"x" * 5000])
def test_damaged_frame_header(junk):
    reader = FrameReader(io.BytesIO(y4m("mono", 2, 1, frames=[b"ab"]) + junk + b"cd"))
    with pytest.raises(ImageDecodeError, match="frame 2 does not begin with a FRAME line"):
        list(reader)


@pytest.mark.parametrize(
    ("stream", "error", "words"),
    [
        (b"", ImageDecodeError, "empty"),
        (b"\x89PNG\r\n\x1a\n" + b"0" * 50, UsageError, "not a y4m stream"),
        (b"YUV", UsageError, "not a y4m stream"),
        (b"YUV4MPEG2 W4 H2", ImageDecodeError, "does not end"),
        (b"YUV4MPEG2 W4\n", ImageDecodeError, "no width and height"),
        (b"YUV4MPEG2 W-4 H2\n", ImageDecodeError, "no width and height"),
        (b"YUV4MPEG2 W0 H2\n", ImageDecodeError, "no width and height"),
        (b"YUV4MPEG2 W4 H2 C411\n", UnsupportedImageError, "C411"),
        (b"YUV4MPEG2 W4 H2 C444alpha\n", UnsupportedImageError, "C444alpha"),
        (b"YUV4MPEG2 W30000 H30000 Cmono\n", ImageTooLargeError, "30000x30000"),
        (b"YUV4MPEG2 W40000 H3 Cmono\n", ImageTooLargeError, "on a side"),
        (
            b"YUV4MPEG2 W2000000000 H2000000000\n",
            ImageTooLargeError,
            "2000000000x2000000000 pixels are above the limit",
        ),
        (b"YUV4MPEG2 W4 H" + b"9" * 4000 + b"\n", ImageTooLargeError, "4x9{20}... pixels are above the limit"),
        (b"YUV4MPEG2 W" + b"0" * 20 + b" H2\n", ImageDecodeError, "no width and height"),
    ],
)
def test_bad_headers_are_one_sentence(stream, error, words):
    with pytest.raises(error, match=words) as caught:
        FrameReader(io.BytesIO(stream))
    assert "\n" not in str(caught.value)


def test_a_raw_format_needs_a_size():
    with pytest.raises(UsageError, match="--size"):
        FrameReader(io.BytesIO(b"abc"), "rgb24")


def test_unknown_choices_are_refused():
    with pytest.raises(UsageError, match="nv12"):
        FrameReader(io.BytesIO(b""), "nv12")
    with pytest.raises(UsageError, match="ycgco"):
        FrameConverter(open_y4m(), "ycgco")


@pytest.mark.parametrize("text", ["", "x", "640", "640x", "0x480", "640x-1", "6.4x3", "640x480x3", "axb"])
def test_bad_sizes(text):
    with pytest.raises(UsageError, match="WIDTHxHEIGHT"):
        parse_size(text)


# --- colour -------------------------------------------------------------------------------------------------------


def test_bt601_limited_equals_scikit_image():
    info = open_y4m("444", 64, 32)
    rgb = np.random.default_rng(0).integers(0, 256, (32, 64, 3), dtype=np.uint8)
    converter = FrameConverter(info)
    assert converter.matrix == "bt601"
    frame = converter.to_frame(rgb, Frame(b"", b"FRAME\n"))
    expected = rgb2ycbcr(rgb)
    for channel, plane in enumerate(planes_of(frame, info)):
        np.testing.assert_allclose(plane, expected[..., channel], atol=0.51)
    back = np.clip(ycbcr2rgb(np.stack(planes_of(frame, info), axis=-1)), 0, 1) * 255
    np.testing.assert_allclose(converter.to_pixels(frame), back, atol=0.51)


# Y, Cb, Cr by hand from Kr, Kb of the two standards, limited range, 8 bits
HAND = [
    ("bt601", (255, 255, 255), (235, 128, 128)),
    ("bt601", (0, 0, 0), (16, 128, 128)),
    ("bt601", (255, 0, 0), (81, 90, 240)),
    ("bt601", (0, 255, 0), (145, 54, 34)),
    ("bt601", (0, 0, 255), (41, 240, 110)),
    ("bt709", (255, 255, 255), (235, 128, 128)),
    ("bt709", (255, 0, 0), (63, 102, 240)),
    ("bt709", (0, 255, 0), (173, 42, 26)),
    ("bt709", (0, 0, 255), (32, 240, 118)),
]


@pytest.mark.parametrize(("matrix", "rgb", "ycc"), HAND)
@pytest.mark.parametrize("tag", ["444", *TAGS_420, "422"])
def test_flat_colours_by_hand(matrix, rgb, ycc, tag):
    info = open_y4m(tag, 6, 4)
    converter = FrameConverter(info, matrix)
    bits = info.pixel_format.bits
    scale = 257 if bits > 8 else 1
    pixels = np.empty((4, 6, 3), np.uint16 if bits > 8 else np.uint8)
    pixels[:] = np.array(rgb) * scale
    frame = converter.to_frame(pixels, Frame(b""))
    for plane, value in zip(planes_of(frame, info), ycc, strict=True):
        np.testing.assert_allclose(plane / 2 ** (bits - 8), value, atol=0.51)
    tolerance = 2 if bits == 8 else 257
    np.testing.assert_allclose(converter.to_pixels(frame).astype(float), pixels, atol=tolerance)


def test_full_range_by_hand():
    info = open_y4m("444", 2, 1, " XCOLORRANGE=FULL")
    frame = FrameConverter(info, "bt601").to_frame(np.array([[[255, 0, 0], [255, 255, 255]]], np.uint8), Frame(b""))
    assert [plane.tolist() for plane in planes_of(frame, info)] == [[[76, 255]], [[85, 128]], [[255, 128]]]


@pytest.mark.parametrize("bits", [9, 10, 12, 14, 16])
def test_full_range_never_leaves_the_bit_depth(bits):
    info = open_y4m(f"444p{bits}", 3, 1, " XCOLORRANGE=FULL")
    pixels = np.array([[[65535, 0, 0], [0, 0, 65535], [65535] * 3]], np.uint16)
    planes = planes_of(FrameConverter(info).to_frame(pixels, Frame(b"")), info)
    assert max(plane.max() for plane in planes) == 2**bits - 1


@pytest.mark.parametrize(("height", "matrix"), [(576, "bt601"), (718, "bt601"), (720, "bt709"), (2160, "bt709")])
def test_matrix_by_height(height, matrix):
    assert FrameConverter(open_y4m("mono", 2, height)).matrix == matrix


@pytest.mark.parametrize(("tag", "extra"), [("mono", " XCOLORRANGE=LIMITED"), ("mono10", " XCOLORRANGE=LIMITED")])
def test_limited_grey_is_stretched(tag, extra):
    info = open_y4m(tag, 3, 1, extra)
    step = 2 ** (info.pixel_format.bits - 8)
    frame = yuv_frame(np.array([[16, 235, 125.5 if step > 1 else 125]]) * step, dtype=info.pixel_format.dtype.str)
    pixels = FrameConverter(info).to_pixels(frame)
    assert pixels[0, :2].tolist() == [0, np.iinfo(pixels.dtype).max]
    assert FrameConverter(info).to_frame(pixels, frame).data == frame.data


def test_ten_bits_stay_ten_bits():
    info = open_y4m("444p10", 877, 1)
    ramp = np.arange(64, 941)[None]
    frame = yuv_frame(ramp, np.full_like(ramp, 512), np.full_like(ramp, 512), dtype="<u2")
    pixels = FrameConverter(info).to_pixels(frame)
    assert pixels.dtype == np.uint16
    assert len(np.unique(pixels[..., 1])) == 877
    assert FrameConverter(info).to_frame(pixels, frame).data == frame.data


def reference_upsample(chroma: np.ndarray, height: int, width: int, form: PixelFormat) -> np.ndarray:
    """Linear interpolation between the sample positions, pixel by pixel."""

    def positions(count: int, factor: int, centred: bool) -> np.ndarray:
        return np.arange(count) * factor + (0.5 if centred and factor == 2 else 0.0)

    xs = positions(chroma.shape[1], form.subsampling[0], form.centred[0])
    ys = positions(chroma.shape[0], form.subsampling[1], form.centred[1])
    rows = np.stack([np.interp(np.arange(width), xs, row) for row in chroma])
    return np.stack([np.interp(np.arange(height), ys, column) for column in rows.T], axis=1)


@pytest.mark.parametrize("tag", [*TAGS_420, "422"])
@pytest.mark.parametrize("size", [(10, 8), (9, 7), (1, 1), (2, 1), (1, 6)])
def test_chroma_siting(tag, size):
    width, height = size
    info = open_y4m(tag, width, height)
    form = info.pixel_format
    unit = 2 ** (form.bits - 8)
    shape = form.plane_shapes(height, width)[1]
    random = np.random.default_rng(3)
    blue, red = (random.integers(100, 156, shape) * unit for _ in range(2))
    luma = np.full((height, width), 126 * unit)
    pixels = FrameConverter(info, "bt601").to_pixels(yuv_frame(luma, blue, red, dtype=form.dtype.str))
    full = [reference_upsample(plane / unit, height, width, form) for plane in (blue, red)]
    expected = ycbcr2rgb(np.stack([luma / unit, *full], axis=-1))
    np.testing.assert_allclose(pixels / np.iinfo(pixels.dtype).max, expected, atol=0.51 / 255)


@pytest.mark.parametrize(("tag", "taps_x", "taps_y"), [
    ("420jpeg", (0, 1, 1), (0, 1, 1)),
    ("420mpeg2", (1, 2, 1), (0, 1, 1)),
    ("420paldv", (1, 2, 1), (1, 2, 1)),
    ("422", (1, 2, 1), None),
])  # fmt: skip
def test_chroma_is_a_mean_around_its_position(tag, taps_x, taps_y):
    info = open_y4m(tag, 8, 6)
    rgb = np.random.default_rng(5).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    _, blue, _ = planes_of(FrameConverter(info, "bt601").to_frame(rgb, Frame(b"")), info)
    full = np.pad(rgb2ycbcr(rgb)[..., 1], 1, mode="edge")
    expected = np.empty_like(blue)
    for y, x in np.ndindex(*blue.shape):
        top, left = (2 * y if taps_y else y), 2 * x
        weights = np.outer(taps_y or (0, 1, 0), taps_x).astype(float)
        expected[y, x] = (full[top : top + 3, left : left + 3] * weights).sum() / weights.sum()
    np.testing.assert_allclose(blue, expected, atol=0.51)


@given(
    tag=st.sampled_from(TAGS),
    width=st.integers(1, 20),
    height=st.integers(1, 20),
    full=st.booleans(),
    seed=st.integers(0, 99),
)
def test_any_frame_converts_both_ways(tag, width, height, full, seed):
    info = open_y4m(tag, width, height, " XCOLORRANGE=FULL" if full else " XCOLORRANGE=LIMITED")
    converter, frame = FrameConverter(info), noise_frame(info, seed)
    pixels = converter.to_pixels(frame)
    again = converter.to_frame(pixels, frame)
    assert pixels.shape == ((height, width) if "mono" in tag else (height, width, 3))
    assert (len(again.data), again.header) == (len(frame.data), frame.header)


@given(seed=st.integers(0, 99), tag=st.sampled_from(["444", "444p10", "mono"]))
def test_a_picture_survives_where_chroma_is_not_reduced(seed, tag):
    info = open_y4m(tag, 7, 5)
    converter = FrameConverter(info)
    dtype = np.uint8 if info.pixel_format.bits == 8 else np.uint16
    shape = (5, 7) if tag == "mono" else (5, 7, 3)
    pixels = np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)
    back = converter.to_pixels(converter.to_frame(pixels, Frame(b"")))
    step = np.iinfo(dtype).max / (255 if dtype == np.uint8 else 1023)
    np.testing.assert_allclose(back.astype(float), pixels, atol=2.0 * step)  # a chroma step weighs up to 2.1 in blue


@pytest.mark.parametrize("name", [n for n in INPUT_FORMATS if n not in ("auto", "y4m")])
def test_raw_pixels(name):
    reader = FrameReader(io.BytesIO(bytes(range(24))), name, (2, 2))
    frame = next(iter(reader))
    converter = FrameConverter(reader.info)
    pixels = converter.to_pixels(frame)
    assert converter.to_frame(pixels, frame).data == frame.data
    if name == "bgr24":
        assert pixels[0, 1].tolist() == [5, 4, 3]
    if name == "rgb48le":
        assert pixels[0, 0].tolist() == [0x0100, 0x0302, 0x0504]


@pytest.mark.parametrize(
    "pixels", [np.zeros((2, 3, 3), np.uint8), np.zeros((2, 4), np.uint8), np.zeros((2, 4, 3), np.uint16)]
)
def test_a_picture_that_does_not_fit_is_refused(pixels):
    with pytest.raises(ImageValueError, match="does not fit"):
        FrameConverter(open_y4m("444", 4, 2)).to_frame(pixels, Frame(b""))


# -- crafted headers --------------------------------------------------------------------------------------------------


def test_a_header_that_claims_a_large_frame_takes_no_memory_for_it():
    reader = FrameReader(io.BytesIO(b"YUV4MPEG2 W20000 H20000 C444p16\nFRAME\n" + bytes(1000)))
    tracemalloc.start()
    with pytest.raises(ImageDecodeError, match="ends within frame 1, after 1,000"):
        list(reader)
    assert tracemalloc.get_traced_memory()[1] < 200 << 20  # the frame would be 2.4 GB
    tracemalloc.stop()


def test_frames_above_the_limit_of_the_caller_are_refused():
    stream = b"YUV4MPEG2 W64 H48\nFRAME\n"
    assert FrameReader(io.BytesIO(stream), max_pixels=64 * 48).info.width == 64
    with pytest.raises(ImageTooLargeError, match="above the limit of 3,071 pixels"):
        FrameReader(io.BytesIO(stream), max_pixels=64 * 48 - 1)
    with pytest.raises(ImageTooLargeError, match="limit"):
        FrameReader(io.BytesIO(b""), "rgb24", (64, 48), max_pixels=100)


Y4M_TAGS = st.one_of(
    st.from_regex(rb"[WHCIFAX][\x21-\xff]{0,12}", fullmatch=True),
    st.builds(lambda key, value: key + str(value).encode(), st.sampled_from([b"W", b"H"]), st.integers(-9, 10**30)),
    st.sampled_from([b"W8", b"H6", b"C420jpeg", b"Cmono", b"C444p16", b"Ip", b"XCOLORRANGE=FULL", b"W" + b"9" * 3000]),
)


@given(tags=st.lists(Y4M_TAGS, max_size=8), end=st.sampled_from([b"\n", b"", b"\r\n"]), rest=st.binary(max_size=200))
@settings(max_examples=300, derandomize=True, deadline=None)
def test_any_header_is_read_or_refused_in_a_sentence(tags, end, rest):
    stream = io.BytesIO(b" ".join([b"YUV4MPEG2", *tags]) + end + rest)
    message = ""
    try:
        reader = FrameReader(stream)
        for frame in reader:
            assert len(frame.data) == reader.info.frame_bytes
    except UnhazeError as error:
        message = str(error)
    assert "\n" not in message
    assert len(message) < 500
