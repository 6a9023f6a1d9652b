"""The public dehazer: every kind of picture in, the same kind out."""

import io
import threading
import zlib

import cv2
import numpy as np
import pytest
import tifffile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import unhaze
from unhaze.errors import (
    ImageDecodeError,
    ImageTooLargeError,
    ImageValueError,
    OutputError,
    OverBudgetError,
    UnhazeError,
    UnknownNameError,
    UsageError,
)
from unhaze.images.files import Encoding, Picture, encode_image, read_image, write_image
from unhaze.models.catalogue import finds_haze, list_models, model_info
from unhaze.restore.dehazer import LOOKS_CLEAR, Dehazer, dehaze
from unhaze.restore.options import DEFAULT_MODEL

METHODS = [name for name in list_models() if finds_haze(name)]


@pytest.fixture(scope="module")
def hazy(hazy_photo):
    return hazy_photo[0]


@pytest.fixture(scope="module")
def small(hazy):
    return cv2.resize(hazy, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)


@pytest.fixture(scope="module")
def expected(hazy):
    return Dehazer()(hazy).image


def encoded(pixels, format="PNG", **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format, **options)
    return file.getvalue()


# -- types in and out -------------------------------------------------------------------------------------------------


def test_arrays_come_back_as_arrays(hazy, expected):
    assert expected.dtype == np.uint8
    assert expected.shape == hazy.shape
    assert np.abs(expected.astype(int) - hazy).mean() > 10


def test_the_input_is_never_changed(hazy):
    before = hazy.copy()
    dehaze(hazy)
    np.testing.assert_array_equal(hazy, before)


def test_bytes_come_back_as_bytes_of_the_same_format(hazy, expected):
    data = dehaze(encoded(hazy))
    assert isinstance(data, bytes)
    np.testing.assert_array_equal(read_image(data).pixels, expected)
    assert read_image(data).format == "png"


def test_pil_images_come_back_as_pil_images(hazy, expected):
    image = Image.fromarray(hazy)
    image.info["dpi"] = (300, 300)
    restored = dehaze(image)
    assert isinstance(restored, Image.Image)
    assert restored.mode == "RGB"
    assert restored.info["dpi"] == (300, 300)
    np.testing.assert_array_equal(np.asarray(restored), expected)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "I;16", "F"])
def test_pil_modes_are_kept(hazy, mode):
    image = Image.fromarray(hazy)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    elif mode == "F":
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.float32) / 255)
    else:
        image = image.convert(mode)
        if "A" in mode:
            image.putalpha(Image.linear_gradient("L").resize(image.size))
    restored = dehaze(image)
    assert restored.mode == mode
    assert restored.size == image.size
    if "A" in mode:
        np.testing.assert_array_equal(np.asarray(restored)[..., -1], np.asarray(image)[..., -1])


def test_pil_palettes_are_resolved_and_other_modes_refused(hazy):
    assert dehaze(Image.fromarray(hazy).quantize(64)).mode == "RGB"
    with pytest.raises(ImageValueError, match="convert"):
        dehaze(Image.fromarray(hazy).convert("HSV"))


def test_a_path_comes_back_as_a_pil_image_and_no_file_is_written(hazy, expected, tmp_path):
    source = tmp_path / "hazy.png"
    source.write_bytes(encoded(hazy))
    for call in (dehaze, lambda path: Dehazer()(path).image):
        for path in (source, str(source)):
            restored = call(path)
            assert isinstance(restored, Image.Image)
            np.testing.assert_array_equal(np.asarray(restored), expected)
    assert list(tmp_path.iterdir()) == [source]


def test_a_path_with_an_output_is_written_there_and_nowhere_else(hazy, expected, tmp_path):
    source, output = tmp_path / "hazy.png", tmp_path / "hazy-dehazed.png"
    source.write_bytes(encoded(hazy))
    assert dehaze(source, output=str(output)) == output
    np.testing.assert_array_equal(read_image(output).pixels, expected)
    with pytest.raises(OutputError, match="exists"):
        dehaze(source, output=output)
    with pytest.raises(OutputError, match="exists"):
        dehaze(source, output=source)
    assert Dehazer()(str(source), output=tmp_path / "other.tif").image == tmp_path / "other.tif"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hazy-dehazed.png", "hazy.png", "other.tif"]


@pytest.mark.parametrize("call", [dehaze, Dehazer.__call__])
def test_the_first_line_of_the_documentation_says_where_a_path_is_written(call):
    assert "writes a file only where ``output`` names it" in call.__doc__.partition("\n")[0]


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_the_image_of_a_path_is_upright_and_carries_its_metadata(hazy, tmp_path, format):
    from PIL import ImageCms

    exif = Image.Exif()
    exif[274], exif[271] = 6, "A camera"  # orientation: turned by a quarter
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    path = tmp_path / f"turned.{format.lower()}"
    Image.fromarray(hazy).save(path, format, exif=exif, icc_profile=profile, dpi=(300, 300), lossless=True)
    restored = dehaze(path, strength=0.0)
    assert restored.size == (hazy.shape[0], hazy.shape[1])
    if format != "JPEG":
        np.testing.assert_array_equal(np.asarray(restored), np.rot90(hazy, -1))
    assert restored.getexif()[271] == "A camera"
    assert restored.getexif().get(274, 1) == 1
    assert restored.info["icc_profile"] == profile
    if format != "WEBP":
        assert [round(value) for value in restored.info["dpi"]] == [300, 300]
    restored.save(tmp_path / "again.jpg", exif=restored.getexif())
    with Image.open(tmp_path / "again.jpg") as again:
        assert again.getexif()[271] == "A camera"


def test_what_a_pil_image_cannot_hold_is_said(hazy, tmp_path):
    sixteen = hazy.astype(np.uint16) * 257
    for name, picture in {
        "colour.png": Picture(sixteen, None, "png"),
        "colour.tif": Picture(hazy.astype(np.float32) / 255, None, "tiff"),
        "alpha.png": Picture(sixteen[..., 0].copy(), sixteen[..., 1].copy(), "png"),
    }.items():
        write_image(picture, tmp_path / name)
        with pytest.warns(UserWarning, match="8 bit.*output="):
            result = Dehazer(strength=0.0)(tmp_path / name)
        assert any("8 bit" in note for note in result.info["notes"])
        given = hazy if name.startswith("colour") else hazy[..., :2]
        np.testing.assert_array_equal(np.asarray(result.image), given)
    write_image(Picture(sixteen[..., 0].copy(), None, "png"), tmp_path / "grey.png")
    grey = dehaze(tmp_path / "grey.png", strength=0.0)
    assert grey.mode == "I;16"
    np.testing.assert_array_equal(np.asarray(grey), sixteen[..., 0])


@pytest.mark.parametrize("shape", ["chw", "bchw"])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_tensors_come_back_as_tensors(hazy, expected, shape, dtype):
    tensor = torch.from_numpy(hazy.copy()).permute(2, 0, 1)
    tensor = tensor if dtype == torch.uint8 else (tensor.float() / 255).to(dtype)
    batch = tensor if shape == "chw" else torch.stack([tensor, tensor.flip(-1)])
    result = Dehazer()(batch)
    assert result.image.dtype == dtype
    assert result.image.shape == batch.shape
    first = result.image if shape == "chw" else result.image[0]
    scale = 1 if dtype == torch.uint8 else 255
    difference = first.float().permute(1, 2, 0).numpy() * scale - expected
    assert np.abs(difference).max() <= (0 if dtype == torch.uint8 else 1 if dtype.itemsize >= 4 else 6)
    assert result.transmission.shape == (*batch.shape[:-3], *batch.shape[-2:])
    assert result.airlight.shape == (*batch.shape[:-3], 3)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float16, np.float32, np.float64])
@pytest.mark.parametrize("channels", [None, 1, 2, 3, 4])
def test_array_layouts_are_kept(hazy, dtype, channels):
    white = {1: 255, 2: 65535}[np.dtype(dtype).itemsize] if np.dtype(dtype).kind == "u" else 1
    picture = hazy[::3, ::3].astype(np.float64) / 255 * white
    alpha = np.linspace(0, white, picture.shape[1])[None, :, None].repeat(picture.shape[0], 0)
    gray = picture.mean(axis=2, keepdims=True)
    array = {None: gray[..., 0], 1: gray, 2: np.dstack([gray, alpha]), 3: picture, 4: np.dstack([picture, alpha])}
    given_array = array[channels].astype(dtype)
    restored = dehaze(given_array)
    assert restored.dtype == dtype
    assert restored.shape == given_array.shape
    if channels in (2, 4):
        np.testing.assert_array_equal(restored[..., -1], given_array[..., -1])
    assert not np.array_equal(restored, given_array)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.zeros((2, 3, 5), np.uint8), "shape"),
        (np.zeros((0, 3, 3), np.uint8), "shape"),
        (np.zeros(7), "shape"),
        (np.zeros((2, 2), np.int64), "int64"),
        (np.zeros((2, 2), bool), "bool"),
        (np.array([[np.nan, np.nan]]), "NaN"),
        (np.array([[np.inf, -np.inf]]), "infinite"),
        (np.dstack([np.ones((2, 2, 3)), np.full((2, 2), np.nan)]), "alpha"),
        (torch.zeros(3, 4, 4, device="meta"), "without values"),
        (torch.zeros(3, 4, 4).to_sparse(), "sparse"),
        (torch.zeros(3, 4, 4).to(torch.float8_e4m3fn), "float8_e4m3fn are not handled"),
        (torch.zeros(2, 5, 4, 4), "shape"),
        (torch.zeros(4), "shape"),
    ],
)
def test_values_without_meaning_are_refused_in_a_sentence(value, message):
    with pytest.raises(ImageValueError, match=message):
        dehaze(value)


def test_other_types_and_stray_outputs_are_refused(hazy, tmp_path):
    with pytest.raises(UsageError, match="type list"):
        dehaze([1, 2, 3])
    with pytest.raises(UsageError, match="given by path"):
        dehaze(hazy, output=tmp_path / "x.png")
    with pytest.raises(UnknownNameError):
        Dehazer("dcpp")
    with pytest.raises(UsageError, match="threads"):
        Dehazer(threads=0)


# -- what the options do ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", METHODS)
@settings(max_examples=25, deadline=None)
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    color=st.booleans(),
    dtype=st.sampled_from([np.uint8, np.uint16, np.float32]),
    strength=st.floats(-1, 1),
    seed=st.integers(0, 2**31),
)
def test_any_size_and_type_gives_a_picture(model, height, width, color, dtype, strength, seed):
    rng = np.random.default_rng(seed)
    white = 1 if dtype == np.float32 else np.iinfo(dtype).max
    array = (rng.random((height, width, 3) if color else (height, width)) * white).astype(dtype)
    result = Dehazer(model, strength=strength, threads=1)(array)
    assert result.image.shape == array.shape
    assert result.image.dtype == dtype
    assert np.isfinite(result.image).all()
    assert result.image.min() >= 0
    assert result.image.max() <= white
    for each in (result.transmission, result.confidence, result.depth.map):
        assert each.shape == array.shape[:2]
        assert np.isfinite(each).all()
    assert 0 < result.transmission.min() <= result.transmission.max() <= 1


@pytest.mark.parametrize("model", METHODS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_strength_zero_is_the_identity_bit_for_bit(hazy, model, dtype):
    array = hazy.astype(dtype) * (257 if dtype == np.uint16 else 1)
    np.testing.assert_array_equal(dehaze(array, model=model, strength=0.0), array)


@pytest.mark.parametrize("model", METHODS)
def test_local_contrast_grows_with_strength(small, model):
    def contrast(strength):
        return np.abs(np.diff(dehaze(small, model=model, strength=strength).astype(float), axis=1)).mean()

    contrasts = [contrast(strength) for strength in (-1, -0.5, 0, 0.25, 0.5, 0.75, 1)]
    assert contrasts == sorted(contrasts)
    assert contrasts[-1] > 1.05 * contrasts[2]


@pytest.mark.parametrize("model", METHODS)
def test_the_picture_moves_farther_away_as_strength_grows(small, model):
    distances = [
        np.abs(dehaze(small, model=model, strength=s).astype(int) - small).mean() for s in (0, 0.2, 0.4, 0.6, 0.8, 1)
    ]
    assert distances == sorted(distances)


def test_negative_strength_adds_haze(hazy):
    more = dehaze(hazy, strength=-1.0).astype(float)
    airlight = Dehazer()(hazy).airlight * 255
    assert np.abs(more - airlight).mean() < np.abs(hazy - airlight).mean()


def test_color_blend_zero_keeps_the_hazy_colours(hazy):
    """Differences between channels are those of the input wherever nothing is clipped."""
    array = hazy.astype(np.float32) / 255
    restored = dehaze(array, color_blend=0.0, keep_exposure=0.0)
    inside = (restored > 0.001).all(axis=2) & (restored < 0.999).all(axis=2)
    difference = np.diff(restored, axis=2) - np.diff(array, axis=2)
    assert inside.mean() > 0.5
    assert np.abs(difference[inside]).max() < 1e-4


@pytest.mark.parametrize("model", METHODS)
def test_results_do_not_depend_on_resolution(hazy, model):
    """A preview shows what the export will be."""
    large = cv2.resize(hazy, (2560, 1708), interpolation=cv2.INTER_CUBIC)
    preview = cv2.resize(large, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    shrunk = cv2.resize(dehaze(large, model=model), None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    error = (dehaze(preview, model=model).astype(float) - shrunk) ** 2
    assert 10 * np.log10(255**2 / error.mean()) > 35


def test_value_types_agree(hazy, expected):
    sixteen = dehaze(hazy.astype(np.uint16) * 257)
    assert np.abs(sixteen / 257 - expected).max() <= 1
    assert len(np.unique(sixteen)) > 256
    floats = dehaze(hazy.astype(np.float32) / 255)
    np.testing.assert_allclose(floats, sixteen / 65535, atol=2e-5)


# -- white ------------------------------------------------------------------------------------------------------------


def test_the_white_that_is_given_counts(hazy):
    array = hazy.astype(np.float32) / 255
    for white in (64, 2**-8):  # a power of two rounds nothing
        np.testing.assert_allclose(dehaze(array * white, white=white) / white, dehaze(array, white=1), atol=1e-5)
    twelve = hazy.astype(np.uint16) * 16
    np.testing.assert_allclose(dehaze(twelve, white=4080) / 16, dehaze(hazy), atol=1)
    np.testing.assert_array_equal(dehaze(hazy, white=4080), dehaze(hazy))  # that of 8 bits is never in doubt


@pytest.mark.parametrize(
    ("dtype", "scale", "white"),
    [
        (np.uint16, 1023, 1023), (np.uint16, 4095, 4095), (np.uint16, 16383, 16383), (np.float32, 0.05, None),
        (np.float32, 255, 255), (np.float32, 4.0, None), (np.float64, 10000, 10000),
    ],
)  # fmt: skip
def test_white_is_found_from_the_values_and_reported(dtype, scale, white):
    """A picture in another scale gives the same result in that scale, whatever single pixels say."""
    scene = np.clip(gentle_scene() * 1.02, 0, 1)
    values = (scene * scale).astype(dtype)
    result = Dehazer()(values)
    assert result.info["white"] == pytest.approx(white or scale, rel=0.06)
    assert f"White was taken to be {result.info['white']:g}" in result.info["notes"][0]
    restored = result.image / float(result.info["white"])
    plain = dehaze(values.astype(np.float32) / np.float32(result.info["white"]), white=1)
    np.testing.assert_allclose(restored, plain, atol=2 / scale if dtype == np.uint16 else 1e-4)
    hot = values.copy()
    hot[5, 6] = 60000 if dtype == np.uint16 else 1e30
    hot[9, 2, 1] = 65535 if dtype == np.uint16 else np.inf
    again = Dehazer()(hot)
    assert again.info["white"] == result.info["white"]
    np.testing.assert_array_equal(again.image[5, 6], hot[5, 6])
    kept = (9, 2, 1) if dtype == np.uint16 else (9, 2)
    np.testing.assert_array_equal(again.image[kept], hot[kept])
    others = np.ones(hot.shape[:2], bool)
    others[[5, 9], [6, 2]] = False
    assert np.abs(again.image.astype(float) - result.image)[others].mean() < 1e-3 * scale
    hot[5, 6] = 50000 if dtype == np.uint16 else 1e20
    hot[9, 2, 1] = 61000 if dtype == np.uint16 else np.nan
    np.testing.assert_array_equal(Dehazer()(hot).image[others], again.image[others])


def gentle_scene(height=60, width=80):
    y, x = np.mgrid[0:height, 0:width]
    noise = np.random.default_rng(2).normal(0, 0.02, (height, width, 3))
    return np.clip(0.6 + 0.3 * np.sin(x / 13 + y / 40)[..., None] + 0.05 * np.cos(y / 9)[..., None] + noise, 0, 1)


def test_lights_above_a_scene_stay_and_the_scene_is_dehazed():
    scene = np.minimum(gentle_scene(), 0.97).astype(np.float32)
    scene[:20] *= 5
    result = Dehazer()(scene)
    lights = (scene > 1).any(axis=2)
    assert result.info["white"] == 1
    assert result.info["notes"] == [f"{(scene > 1).sum()} values above white (1) were left as they are."]
    np.testing.assert_array_equal(result.image[scene > 1], scene[scene > 1])
    assert np.abs(result.image - scene)[~lights].mean() > 0.002


def test_a_pil_image_of_a_file_of_twelve_bits_is_no_darker_than_its_scene(tmp_path, hazy):
    path = tmp_path / "twelve.png"
    write_image(Picture(hazy.astype(np.uint16) * 16 + 1, None, "png"), path)
    with pytest.warns(UserWarning, match="rounded to 8 bit"):
        image = dehaze(path, strength=0.0)
    np.testing.assert_allclose(np.array(image).astype(int), hazy, atol=1)


@pytest.mark.parametrize("value", [-1, 0, float("nan"), float("inf"), "255"])
def test_a_white_without_meaning_is_refused(value):
    with pytest.raises(UsageError, match="value of a white pixel"):
        Dehazer(white=value)


def test_values_beyond_float32_stay():
    array = np.full((32, 40, 3), 0.5)
    array[0, 0, 0] = 1e39
    restored = dehaze(array)
    assert restored[0, 0].tolist() == [1e39, 0.5, 0.5]
    assert np.isfinite(restored[1:]).all()


@pytest.mark.parametrize("kind", [">u2", ">f4", ">f8"])
def test_the_other_byte_order_is_read_and_kept(hazy, kind):
    plain = hazy.astype(np.uint16) * 257 if kind == ">u2" else (hazy / 255).astype(kind.replace(">", "<"))
    restored = dehaze(plain.astype(kind))
    assert restored.dtype == np.dtype(kind)
    np.testing.assert_array_equal(restored, dehaze(plain))


def test_pil_images_that_cannot_be_decoded_are_refused(hazy):
    cut = Image.open(io.BytesIO(encoded(hazy, "JPEG")[:-200]))
    closed = Image.open(io.BytesIO(encoded(hazy, "JPEG")))
    closed.close()
    for image in (cut, closed):
        with pytest.raises(ImageDecodeError, match="PIL image cannot be decoded"):
            dehaze(image)
    named = Image.fromarray(hazy)
    named.info["icc_profile"] = "a text"
    assert dehaze(named).size == named.size


# -- hidden pixels ----------------------------------------------------------------------------------------------------

HIDING = ["array", "tensor", "pil", "png", "webp", "tiff", "tiff-nodata", "nan"]


def hiding(kind, pixels, hidden):
    """The same picture in a form that hides some pixels, and a way to get the colours of its result."""
    if kind == "nan":
        array = pixels.astype(np.float32) / 255
        array[hidden, np.random.default_rng(pixels[hidden].sum()).integers(3)] = np.nan
        return array, np.asarray
    if kind == "tiff-nodata":
        stored = np.where(hidden[..., None], 3, pixels)  # whatever the others hold, GDAL hides by value
        file = io.BytesIO()
        tifffile.imwrite(file, stored.astype(np.uint8), photometric="rgb", extratags=[(42113, 2, None, "3", True)])
        return file.getvalue(), lambda data: read_image(data).pixels
    rgba = np.dstack([pixels, np.where(hidden, 0, 255).astype(np.uint8)])
    if kind == "array":
        return rgba, lambda out: out[..., :3]
    if kind == "tensor":
        return torch.from_numpy(rgba).permute(2, 0, 1), lambda out: out.permute(1, 2, 0).numpy()[..., :3]
    if kind == "pil":
        return Image.fromarray(rgba), lambda out: np.asarray(out)[..., :3]
    picture = Picture(pixels, rgba[..., 3], kind, encoding=Encoding(lossless=True))
    return encode_image(picture, kind), lambda data: read_image(data).pixels


@pytest.mark.parametrize("model", METHODS)
@settings(max_examples=4, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    kind=st.sampled_from(HIDING),
    shape=st.sampled_from([(40, 50), (64, 1300), (700, 20)]),
    dust=st.booleans(),
)
def test_hidden_colours_never_change_the_visible_result(model, seed, kind, shape, dust):
    """Bit for bit; and what is hidden stays as it was."""
    rng = np.random.default_rng(seed)
    pixels = np.maximum(gentle_scene(*shape) * 255, 4).astype(np.uint8)
    hidden = rng.random(shape) < 0.2 if dust else np.zeros(shape, bool)
    hidden[:, : shape[1] // 3] = True
    results = []
    for filling in (np.zeros(3), rng.integers(0, 256, (int(hidden.sum()), 3))):
        painted = pixels.copy()
        painted[hidden] = filling
        given_picture, colours = hiding(kind, painted, hidden)
        out = colours(dehaze(given_picture, model=model))
        results.append(out[~hidden])
        if kind not in ("nan", "tiff-nodata"):
            np.testing.assert_array_equal(out[hidden], painted[hidden])
    assert np.isfinite(results[0]).all()
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("model", METHODS)
def test_a_hidden_half_leaves_the_other_much_as_it_is_alone(model, hazy):
    alone = hazy[:, 320:]
    rgba = np.dstack([hazy, np.full(hazy.shape[:2], 255, np.uint8)])
    rgba[:, :320] = 0
    change, expected = (np.abs(dehaze(p, model=model)[:, -300:, :3].astype(float) - hazy[:, -300:]).mean()
                        for p in (rgba, np.ascontiguousarray(alone)))  # fmt: skip
    assert 0.6 * expected < change < 1.6 * expected


def test_no_visible_pixel_becomes_nodata():
    """Dark haze makes black of dark grey; black is what GDAL hides here."""
    pixels = np.full((40, 50, 3), 9, np.uint8)
    pixels[:, 25:] = gentle_scene(40, 25) * 255
    pixels[:5] = 0
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, photometric="rgb", extratags=[(42113, 2, None, "0", True)])
    restored = read_image(dehaze(file.getvalue(), model="dcp", protect_sky=0.0, keep_exposure=0.0)).pixels
    np.testing.assert_array_equal((restored == 0).all(axis=2), (pixels == 0).all(axis=2))


def test_a_picture_with_everything_hidden_stays(hazy):
    rgba = np.dstack([hazy, np.zeros(hazy.shape[:2], np.uint8)])
    np.testing.assert_array_equal(dehaze(rgba), rgba)


# -- results, sharing, limits -----------------------------------------------------------------------------------------


def test_maps_fit_together(hazy):
    result = Dehazer()(hazy)
    np.testing.assert_allclose(result.depth.map, -np.log(result.transmission), atol=1e-6)
    assert result.depth.kind == "relative"
    assert result.depth.far_is_large
    assert result.info["model"] == DEFAULT_MODEL
    assert set(result.info["seconds"]) == {"solve", "apply"}
    assert 0 <= result.confidence.min() <= result.confidence.max() <= 1


def test_depth_orders_a_scene(hazy_photo):
    """Far is large: the synthetic depth grows towards the horizon."""
    hazy, transmission = hazy_photo
    depth = Dehazer(protect_sky=0.0)(hazy).depth.map
    assert np.corrcoef(depth.ravel(), -np.log(np.asarray(transmission)).ravel())[0, 1] > 0.5


def test_maps_are_left_out_on_request(hazy):
    result = Dehazer()(hazy, maps=False)
    assert result.transmission is result.depth is result.confidence is None


@pytest.mark.parametrize("model", METHODS)
def test_a_picture_that_looks_clear_is_told(hazy, model):
    flat = np.full((40, 60, 3), 128, np.uint8)
    assert dehaze_notes(hazy, model) == []
    if model_info(model).has_network:
        return  # what a network makes of a grey wall is its own affair; photographs are tested beside it
    assert dehaze_notes(flat, model) == [LOOKS_CLEAR]
    assert dehaze_notes(flat, model, strength=-0.5) == dehaze_notes(flat, model, strength=0.0) == []


def dehaze_notes(picture, model, **options):
    return Dehazer(model, **options)(picture, maps=False).info["notes"]


def test_the_engine_of_a_network_is_reported(hazy):
    with Dehazer("field-m", engine="onnxruntime") as dehazer:
        assert dehazer(hazy).info["engine"]["name"] == dehazer.engine.name == "onnxruntime"
        assert dehazer.engine.provider == "CPUExecutionProvider"
    with Dehazer("dcp") as dehazer:
        assert dehazer(hazy).info["engine"] is dehazer.engine is None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"model": "dcp", "engine": "onnxruntime"}, "has no network"),
        ({"model": "field-m", "engine": "onnxrt"}, "did you mean onnxruntime"),
        ({"weights": "x.pth", "engine": "onnxruntime"}, "engine is for models that find haze"),
    ],
)
def test_an_engine_needs_a_method_with_a_network(options, words):
    with pytest.raises(UsageError, match=words):
        Dehazer(**options)


# -- frames -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("jobs", [1, 3])
def test_frames_are_dehazed_as_pictures_and_in_order(hazy, jobs):
    frames = [np.ascontiguousarray(hazy[::4, i * 40 : i * 40 + 320 : 4]) for i in range(5)]
    with Dehazer(threads=1) as dehazer:
        results = list(dehazer.stream(frames, jobs=jobs))
        for frame, result in zip(frames, results, strict=True):
            np.testing.assert_array_equal(result, dehazer(frame, maps=False).image)


def test_frames_are_smoothed_on_request(hazy):
    small = hazy[::4, ::4]
    frames = [small, np.clip(small + np.int16(4), 0, 255).astype(np.uint8)]
    with Dehazer(threads=1) as dehazer:
        alone, smoothed = (list(dehazer.stream(frames, temporal=weight)) for weight in (0.0, 0.9))
    np.testing.assert_array_equal(alone[0], smoothed[0])
    assert not np.array_equal(alone[1], smoothed[1])


@pytest.mark.parametrize("weight", [-0.1, 0.99, float("nan")])
def test_a_weight_over_time_out_of_range_is_refused_at_once(weight):
    with pytest.raises(UsageError, match="must lie between 0 and"):
        Dehazer().stream([], temporal=weight)


# -- results, sharing, limits -----------------------------------------------------------------------------------------


def test_threads_and_calls_share_one_dehazer(hazy, expected):
    results = {}
    with Dehazer(threads=2) as dehazer:

        def work(number):
            results[number] = dehazer(hazy, maps=False).image

        workers = [threading.Thread(target=work, args=(number,)) for number in range(6)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    assert len(results) == 6
    for image in results.values():
        np.testing.assert_array_equal(image, expected)


def test_a_closed_dehazer_works_again(hazy, expected):
    dehazer = Dehazer(threads=2)
    dehazer.close()
    np.testing.assert_array_equal(dehazer(hazy).image, expected)
    dehazer.close()


def test_a_picture_over_budget_is_refused_before_decoding(hazy, tmp_path):
    source = tmp_path / "large.png"
    source.write_bytes(encoded(hazy))
    with pytest.raises(OverBudgetError, match="raise --max-memory"):
        Dehazer(max_memory="1M")(source)
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.parametrize(("max_pixels", "words"), [
    (500_000_000, "more than the limit of 500000000; raise max_pixels"), (None, "more than any memory holds"),
])  # fmt: skip
def test_more_memory_is_not_asked_for_where_no_memory_would_do(max_pixels, words):
    bomb = bytearray(encoded(np.zeros((1, 1), np.uint8)))
    bomb[16:24] = b"\xff" * 8
    bomb[29:33] = zlib.crc32(bomb[12:29]).to_bytes(4, "big")
    with pytest.raises(ImageTooLargeError, match=f"4294967295 x 4294967295 pixels, {words}"):
        Dehazer(max_memory="1G", max_pixels=max_pixels)(bytes(bomb))


def test_a_solved_field_can_be_applied_to_other_frames(hazy, expected):
    dehazer = Dehazer()
    field = dehazer.solve(hazy)
    np.testing.assert_array_equal(dehazer.apply(hazy, field), expected)
    frame = hazy.copy()
    assert dehazer.apply(frame, field, out=frame) is frame
    np.testing.assert_array_equal(frame, expected)


def test_the_tone_curve_of_a_profile_is_respected(hazy):
    """A linear-light picture with a linear profile gives what its sRGB form gives, in linear light."""
    from PIL import ImageCms

    from unhaze.physics.color import srgb_to_linear

    profile = linear_profile(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    linear = np.round(srgb_to_linear(hazy.astype(np.float64) / 255) * 65535).astype(np.uint16)
    from unhaze.images.files import Metadata, Picture

    restored = Dehazer().restore(Picture(linear, None, "tiff", Metadata(icc=profile))).image
    expected = dehaze(hazy.astype(np.float32) / 255)
    np.testing.assert_allclose(restored.pixels / 65535, srgb_to_linear(expected), atol=2e-3)
    assert restored.metadata.icc == profile


def linear_profile(srgb):
    """An sRGB profile with its tone curves replaced by the identity."""
    data = bytearray(srgb)
    count = int.from_bytes(data[128:132], "big")
    for index in range(count):
        entry = 132 + 12 * index
        if bytes(data[entry : entry + 4]) in (b"rTRC", b"gTRC", b"bTRC"):
            offset = int.from_bytes(data[entry + 4 : entry + 8], "big")
            data[offset : offset + 12] = b"curv" + bytes(8)
            data[entry + 8 : entry + 12] = (12).to_bytes(4, "big")
    return bytes(data)


def test_every_error_has_one_base():
    assert issubclass(UnknownNameError, unhaze.UnhazeError)
    assert unhaze.UnhazeError is UnhazeError
    assert sorted(unhaze.__all__) == sorted(set(unhaze.__all__))
    for name in unhaze.__all__:
        assert getattr(unhaze, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'dehazer'"):
        _ = unhaze.dehazer
