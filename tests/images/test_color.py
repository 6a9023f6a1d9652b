"""Tone curves of profiles, against LittleCMS and closed formulae."""

import io
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from unhaze.images.color import tone_curve
from unhaze.physics.color import linear_to_srgb, srgb_to_linear

GRID = np.linspace(0, 1, 1001)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def gamma(*exponents):
    return [b"curv" + bytes(4) + struct.pack(">IH", 1, round(e * 256)) for e in exponents]


def sampled(function, count=1024):
    points = np.rint(np.clip(function(np.linspace(0, 1, count)), 0, 1) * 65535).astype(">u2")
    return b"curv" + bytes(4) + struct.pack(">I", count) + points.tobytes()


def parametric(kind, *parameters):
    return b"para" + bytes(4) + struct.pack(">HH", kind, 0) + struct.pack(f">{len(parameters)}i", *fixed(parameters))


def fixed(parameters):
    return [round(p * 65536) for p in parameters]


def with_curves(*curves, space=b"RGB "):
    """An sRGB profile whose curves are exchanged (one for all, or red, green, blue); a grey one is made of kTRC."""
    names = [b"kTRC"] if space == b"GRAY" else [b"rTRC", b"gTRC", b"bTRC"]
    curves = list(curves) * (len(names) if len(curves) == 1 else 1)
    count = int.from_bytes(SRGB[128:132], "big")
    old = [struct.unpack_from(">4sII", SRGB, 132 + 12 * i) for i in range(count)]
    tags = {name: SRGB[offset : offset + size] for name, offset, size in old if name[1:] != b"TRC"}
    if space == b"GRAY":
        tags = {name: content for name, content in tags.items() if not name.endswith(b"XYZ") and name != b"chad"}
    tags |= dict(zip(names, curves, strict=True))
    table, body, start = b"", b"", 132 + 12 * len(tags)
    for name, content in tags.items():
        table += name + struct.pack(">II", start + len(body), len(content))
        body += content + b"\0" * (-len(content) % 4)
    data = SRGB[:16] + space + SRGB[20:128] + struct.pack(">I", len(tags)) + table + body
    return struct.pack(">I", len(data)) + data[4:]


def linear(x):
    return linear_to_srgb(x)


@pytest.mark.parametrize("icc", [None, b"", SRGB, b"nonsense", SRGB[:140], bytes(200)])
def test_no_profile_srgb_and_nonsense_need_no_curve(icc):
    assert tone_curve(icc) is None


def test_sampled_srgb_is_srgb():
    assert tone_curve(with_curves(sampled(srgb_to_linear))) is None
    assert tone_curve(with_curves(parametric(3, 2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045))) is None


def test_srgb_formulae_are_each_others_inverse_and_match_known_values():
    np.testing.assert_allclose(linear_to_srgb(srgb_to_linear(GRID)), GRID, atol=1e-6)
    # 18 per cent grey, the middle value, and the break point of the standard
    np.testing.assert_allclose(linear_to_srgb(np.array([0.18, 0.0031308])), [0.4613561, 0.04045], atol=1e-5)
    np.testing.assert_allclose(srgb_to_linear(np.array([0.5])), [0.2140411], atol=1e-6)


CASES = {
    "identity": ([b"curv" + bytes(8)], lambda x: x),
    "gamma-1": (gamma(1.0), lambda x: x),
    "gamma-1.8": (gamma(1.8), lambda x: x ** (round(1.8 * 256) / 256)),
    "gamma-2.2": (gamma(2.2), lambda x: x ** (round(2.2 * 256) / 256)),
    "sampled": ([sampled(lambda x: x**1.5, 4096)], lambda x: x**1.5),
    "para-0": ([parametric(0, 1.8)], lambda x: x**1.8),
    "para-1": ([parametric(1, 2.0, 1.25, -0.25)], lambda x: np.maximum(1.25 * x - 0.25, 0) ** 2),
    "para-2": ([parametric(2, 1.0, 0.9, 0.0, 0.1)], lambda x: 0.9 * x + 0.1),
    "para-3": ([parametric(3, 1.8, 1.0, 0.0, 1 / 16, 1 / 32)], lambda x: np.where(x >= 1 / 32, x**1.8, x / 16)),
    "para-4": (
        [parametric(4, 1 / 0.45, 1 / 1.099, 0.099 / 1.099, 1 / 4.5, 0.081, 0.0, 0.0)],
        lambda x: np.where(x >= 0.081, ((x + 0.099) / 1.099) ** (1 / 0.45), x / 4.5),
    ),
}


@pytest.mark.parametrize("name", sorted(CASES))
def test_every_kind_of_curve_follows_its_formula(name):
    tags, light = CASES[name]
    curve = tone_curve(with_curves(*tags))
    assert curve is not None
    expected = linear_to_srgb(np.clip(light(GRID), 0, 1))
    result = curve.to_srgb(GRID[None].astype(np.float32))
    assert result.dtype == np.float32
    np.testing.assert_allclose(result[0], expected, atol=3e-4)


@pytest.mark.parametrize("exponents", [(1.0,), (1.8,), (2.2,), (1.0, 1.8, 2.6)])
def test_to_srgb_agrees_with_littlecms(exponents):
    """The profiles differ in nothing but the curves, so the conversion between them is the exchange of the curves."""
    icc = with_curves(*gamma(*exponents))
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    source, target = (ImageCms.getOpenProfile(io.BytesIO(p)) for p in (icc, SRGB))
    reference = np.asarray(ImageCms.profileToProfile(Image.fromarray(ramp), source, target))
    curve = tone_curve(icc)
    grey_axis = [0, 1, 2] if len(exponents) == 1 else []
    own = np.rint(curve.to_srgb(ramp) * 255)
    if grey_axis:
        assert np.abs(own - reference).max() <= 1
    for channel, exponent in enumerate(exponents * (3 // len(exponents))):
        expected = linear_to_srgb((np.arange(256) / 255) ** (round(exponent * 256) / 256)) * 255
        np.testing.assert_allclose(own[0, :, channel], expected, atol=0.51)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("name", ["identity", "gamma-1.8", "gamma-2.2", "para-4"])
def test_there_and_back_changes_no_8_bit_value_and_16_bit_values_hardly(name, dtype):
    top = np.iinfo(dtype).max
    curve = tone_curve(with_curves(*CASES[name][0]))
    ramp = np.arange(top + 1).astype(dtype)[None]
    back = np.rint(curve.from_srgb(curve.to_srgb(ramp)) * top)
    # where the pieces of the curve of television meet it falls a little, and 16 levels have no way back
    most = {"uint8": 0, "uint16": 16 if name == "para-4" else 1}[dtype]
    assert np.abs(back - ramp).max() <= most


def test_integer_and_float_values_agree():
    curve = tone_curve(with_curves(*gamma(1.0, 1.8, 2.2)))
    rng = np.random.default_rng(0)
    for dtype in ("uint8", "uint16"):
        values = rng.integers(0, np.iinfo(dtype).max, (300, 5, 3), dtype=dtype, endpoint=True)
        floats = (values / np.iinfo(dtype).max).astype(np.float32)
        np.testing.assert_allclose(curve.to_srgb(values), curve.to_srgb(floats), atol=2e-5)


@settings(max_examples=60, deadline=None)
@given(exponent=st.floats(0.5, 4.0), height=st.integers(1, 5), width=st.integers(1, 5), grey=st.booleans())
def test_results_keep_shape_order_and_range(exponent, height, width, grey):
    curve = tone_curve(with_curves(*gamma(exponent), space=b"GRAY" if grey else b"RGB "))
    if curve is None:
        assert abs(exponent - 2.2) < 0.3
        return
    shape = (height, width) if grey else (height, width, 3)
    values = np.linspace(-0.2, 1.2, int(np.prod(shape)), dtype=np.float32).reshape(shape)
    for function in (curve.to_srgb, curve.from_srgb):
        result = function(values)
        assert result.shape == shape
        assert result.min() >= 0
        assert result.max() <= 1
        assert (np.diff(result.ravel()) >= 0).all()


@pytest.mark.parametrize(
    "curves",
    [
        [sampled(lambda x: 1 - x)],  # falling
        [sampled(lambda x: np.full_like(x, 0.5))],  # constant
        [b"sf32" + bytes(20)],  # no curve
        [b"curv" + bytes(4) + struct.pack(">I", 4000) + bytes(10)],  # cut off
        [parametric(3, 2.4, 1.0)],  # too few numbers
        [b"para" + bytes(4) + struct.pack(">HH", 9, 0) + bytes(40)],  # unknown kind
        [parametric(1, 2.0, 0.0, 0.0)],  # divides by zero
    ],
)
def test_curves_without_an_inverse_or_meaning_are_left_out(curves):
    assert tone_curve(with_curves(*curves)) is None


def test_profiles_with_a_three_dimensional_table_are_left_out():
    icc = bytearray(with_curves(*gamma(1.0)))
    place = icc.find(b"cprt", 128, 400)
    icc[place : place + 4] = b"A2B0"
    assert tone_curve(bytes(icc)) is None


def test_grey_profiles_have_one_curve():
    curve = tone_curve(with_curves(*gamma(1.0), space=b"GRAY"))
    assert curve.forward.shape == (1, 65536)
    np.testing.assert_allclose(curve.to_srgb(GRID[None].astype(np.float32))[0], linear_to_srgb(GRID), atol=3e-4)
