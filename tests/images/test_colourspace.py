"""Colours given by numbers (CICP): in what is written, another program must see the same colours."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms
from tests.pictures import chunk, opened, png, png_chunks, row, saved, scene

from unhaze.errors import ImageEncodeError
from unhaze.images import _colourspace
from unhaze.images.color import tone_curve
from unhaze.images.files import (
    WRITE_FORMATS,
    conversion_notes,
    default_output_format,
    encode_image,
    identify,
    read_image,
)

FLAT = np.full((48, 64, 3), (250, 60, 40), np.uint8)


def avif(primaries, transfer, pixels=FLAT):
    """An AVIF of Pillow's with another colour description."""
    data = saved(pixels, "AVIF", quality=100, subsampling="4:4:4")
    place = data.index(b"colrnclx") + 8
    return data[:place] + struct.pack(">HH", primaries, transfer) + data[place + 4 :]


def heic(primaries, transfer, pixels=FLAT):
    pillow_heif = pytest.importorskip("pillow_heif")
    file = io.BytesIO()
    options = {"color_primaries": primaries, "transfer_characteristics": transfer, "matrix_coefficients": 6}
    pillow_heif.from_pillow(Image.fromarray(pixels)).save(file, quality=100, chroma=444, full_range_flag=1, **options)
    return file.getvalue()


def described_png(primaries, transfer, pixels=FLAT):
    return png(pixels, chunk(b"cICP", bytes((primaries, transfer, 0, 1))))


MAKERS = {"avif": avif, "heif": heic, "png": described_png}


def light(rgb, primaries, exponent=None):
    """CIE XYZ for D65 of an 8-bit colour, by the definition of the standards."""
    matrices = {  # BT.709, BT.2020, SMPTE EG 432-1 with D65, each as published
        1: [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]],
        9: [[0.6370, 0.1446, 0.1689], [0.2627, 0.6780, 0.0593], [0.0000, 0.0281, 1.0610]],
        12: [[0.4866, 0.2657, 0.1982], [0.2290, 0.6917, 0.0793], [0.0000, 0.0451, 1.0439]],
    }
    v = np.asarray(rgb) / 255
    linear = np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4) if exponent is None else v**exponent
    return np.array(matrices[primaries]) @ linear


def seen(data):
    """CIE XYZ for D50 that Little CMS sees in a file, without another reader of ours."""
    image = opened(data)
    source = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
    lab = ImageCms.profileToProfile(image.convert("RGB"), source, ImageCms.createProfile("LAB"), 1, outputMode="LAB")
    lightness, a, b = np.asarray(lab)[24, 32].astype(float)
    lightness, a, b = lightness * 100 / 255, (a + 128) % 256 - 128, (b + 128) % 256 - 128
    return np.array([lightness, a, b])


def lab_of(xyz):
    """CIELAB relative to D65; Bradford moves white to white, which is near enough for flat colours."""
    ratio = np.asarray(xyz) / (0.9505, 1.0, 1.089)
    f = np.where(ratio > 216 / 24389, np.cbrt(ratio), (24389 / 27 * ratio + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@row("cicp")
@pytest.mark.parametrize("target", ["jpeg", "png", "tiff", "webp", "avif"])
@pytest.mark.parametrize("primaries", [9, 12])
@pytest.mark.parametrize("source", sorted(MAKERS))
def test_wide_colours_are_said_in_what_is_written(source, primaries, target):
    picture = read_image(MAKERS[source](primaries, 13))
    assert picture.notes == ()
    assert tone_curve(picture.metadata.icc) is None
    data = encode_image(picture, target)
    assert conversion_notes(picture, target) == ()
    expected = lab_of(light(picture.pixels[24, 32], primaries))
    as_srgb = lab_of(light(picture.pixels[24, 32], 1))
    assert np.abs(seen(data) - expected).max() < 6  # adaptation and 8-bit Lab
    assert np.abs(seen(data) - as_srgb).max() > 12


@row("cicp")
@pytest.mark.parametrize("source", sorted(MAKERS))
@pytest.mark.parametrize(("primaries", "transfer"), [(1, 13), (2, 2), (1, 1), (1, 6)])
def test_srgb_needs_no_profile(source, primaries, transfer):
    picture = read_image(MAKERS[source](primaries, transfer))
    assert picture.metadata.icc is None
    assert picture.notes == ()


@row("cicp")
def test_a_description_comes_after_an_icc_profile():
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert read_image(saved(FLAT, "AVIF", icc_profile=icc)).metadata.icc == icc


@row("cicp", "png-colour-chunks")
def test_linear_pngs_are_worked_on_by_their_curve():
    for data in (described_png(1, 8), png(FLAT, chunk(b"gAMA", struct.pack(">I", 100_000)))):
        curve = tone_curve(read_image(data).metadata.icc)
        np.testing.assert_allclose(curve.to_srgb(np.full((1, 1, 3), 0.2140, np.float32)), 0.5, atol=1e-3)


@row("png-colour-chunks")
def test_usual_or_senseless_colour_chunks_need_no_profile():
    corners = struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)
    usual = png(FLAT, chunk(b"gAMA", struct.pack(">I", 45455)), chunk(b"cHRM", corners))
    assert read_image(usual).metadata.icc is None
    assert read_image(png(FLAT, chunk(b"gAMA", bytes(4)))).metadata.icc is None
    senseless = read_image(
        png(FLAT, chunk(b"gAMA", struct.pack(">I", 100_000)), chunk(b"cHRM", struct.pack(">8I", *range(8))))
    )
    said = ImageCms.ImageCmsProfile(io.BytesIO(senseless.metadata.icc)).profile
    np.testing.assert_allclose(said.red_primary[1][:2], (0.6484, 0.3309), atol=1e-3)  # sRGB's, for D50


@row("cicp")
def test_grey_pictures_get_grey_profiles():
    picture = read_image(described_png(12, 8, scene(channels=0)))
    assert picture.pixels.ndim == 2
    assert picture.metadata.icc[16:20] == b"GRAY"
    assert opened(encode_image(picture, "jpeg")).info["icc_profile"] == picture.metadata.icc
    assert read_image(described_png(12, 13, scene(channels=0))).metadata.icc is None


@row("hdr")
@pytest.mark.parametrize(("transfer", "name"), [(16, "PQ"), (18, "HLG")])
@pytest.mark.parametrize("source", sorted(MAKERS))
def test_hdr_keeps_its_tag_or_is_refused(source, transfer, name):
    data = MAKERS[source](9, transfer)
    picture = read_image(data)
    assert any(f"HDR ({name})" in note for note in picture.notes)
    assert picture.metadata.cicp == (9, transfer)
    assert default_output_format(picture) == {"avif": "avif", "heif": "png", "png": "png"}[source]
    assert default_output_format(identify(data)) in WRITE_FORMATS
    assert (b"cICP", bytes((9, transfer, 0, 1))) in png_chunks(encode_image(picture, "png", metadata="strip"))
    again = encode_image(picture, "avif")
    assert again[again.index(b"colrnclx") + 8 :][:4] == struct.pack(">HH", 9, transfer)
    assert read_image(again).metadata.cicp == (9, transfer)
    assert np.abs(read_image(again).pixels.astype(int) - picture.pixels).mean() < 3
    for target in ("jpeg", "tiff", "webp", "bmp"):
        with pytest.raises(ImageEncodeError, match=f"HDR \\({name}\\); choose PNG or AVIF"):
            encode_image(picture, target)


@row("hdr")
def test_hdr_of_a_png_counts_before_its_profile():
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    profile = chunk(b"iCCP", b"x\0\0" + zlib.compress(icc))
    picture = read_image(png(FLAT, chunk(b"cICP", bytes((9, 16, 0, 1))), profile))
    assert (picture.metadata.cicp, picture.metadata.icc) == ((9, 16), None)
    assert any("HDR (PQ)" in note for note in picture.notes)
    assert any("profile for programs that do not know HDR" in note for note in picture.notes)
    assert (b"cICP", bytes((9, 16, 0, 1))) in png_chunks(encode_image(picture))


def test_premultiplied_colours_of_a_heif_are_divided():
    pillow_heif = pytest.importorskip("pillow_heif")
    alpha = np.full((48, 64), 128, np.uint8)
    multiplied = np.dstack([(FLAT.astype(int) * 128 // 255).astype(np.uint8), alpha])
    file = io.BytesIO()
    pillow_heif.from_bytes("RGBa", (64, 48), multiplied.tobytes()).save(file, quality=-1)
    picture = read_image(file.getvalue())
    np.testing.assert_array_equal(picture.alpha, alpha)
    assert np.abs(picture.pixels.astype(int) - FLAT).max() <= 6


@pytest.mark.parametrize("primaries", sorted(_colourspace._PRIMARIES))
def test_profiles_are_read_by_little_cms(primaries):
    icc = _colourspace.profile_of_cicp(primaries, 4, grey=False)
    said = ImageCms.ImageCmsProfile(io.BytesIO(icc)).profile
    white = sum(np.array(colorant[0]) for colorant in (said.red_colorant, said.green_colorant, said.blue_colorant))
    np.testing.assert_allclose(white, (0.9642, 1.0, 0.8249), atol=1e-3)
    assert (said.version, said.xcolor_space.strip(), said.device_class) == (4.3, "RGB", "mntr")


def test_unknown_numbers_make_no_profile():
    for primaries, transfer in ((99, 13), (12, 99), (3, 4)):
        assert _colourspace.profile_of_cicp(primaries, transfer, grey=False) is None


@row("cicp")
@pytest.mark.parametrize("source", MAKERS)
@pytest.mark.parametrize(
    ("primaries", "transfer", "told"), [(1, 9, True), (10, 17, True), (1, 2, False), (2, 2, False)]
)
def test_colours_for_which_there_is_no_profile_are_told(source, primaries, transfer, told):
    picture = read_image(MAKERS[source](primaries, transfer))
    line = f"The colours are described as CICP {primaries}/{transfer}, which is not handled; they count as sRGB."
    assert (line in picture.notes) is told
    assert picture.metadata.icc is None


def test_heic_in_hdr_is_planned_as_png(tmp_path):
    heif = pytest.importorskip("pillow_heif")
    from PIL import Image

    from unhaze.batch.planning import plan
    from unhaze.images.files import identify

    path = tmp_path / "h.heic"
    picture = heif.from_pillow(Image.new("RGB", (64, 48), (90, 120, 150)))
    picture.save(path, save_nclx_profile=True, color_primaries=9, transfer_characteristics=18, full_range_flag=1)
    assert identify(path).hdr
    assert [job.output.name for job in plan([path])] == ["h-dehazed.png"]


def test_orientation_that_only_xmp_gives_turns_a_tiff():
    import tifffile

    from unhaze.images.files import identify, read_image

    xmp = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
    )
    pixels = np.zeros((20, 30, 3), np.uint8)
    pixels[:, :5] = 200
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, photometric="rgb", extratags=[(700, 1, len(xmp), xmp, True)])
    info = identify(file.getvalue())
    assert (info.width, info.height) == (20, 30)
    picture = read_image(file.getvalue())
    assert picture.pixels.shape == (30, 20, 3)
    assert picture.pixels[:5].min() == 200  # what was at the left is at the top
    assert b'Orientation="1"' in picture.metadata.xmp


def srgb(pixels, icc):
    """What LittleCMS makes of values of a profile."""
    source = ImageCms.ImageCmsProfile(io.BytesIO(icc))
    shown = ImageCms.profileToProfile(Image.fromarray(pixels), source, ImageCms.createProfile("sRGB"))
    return np.asarray(shown).astype(int)


@row("cicp-before-icc")
def test_an_sdr_cicp_chunk_counts_before_a_profile_that_says_something_else():
    """Display P3 in the chunk, sRGB in the profile: PNG, third edition, section 4.3."""
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    pixels, cicp = scene(), b"\x0c\x0d\0\1"
    picture = read_image(png(pixels, chunk(b"cICP", cicp), chunk(b"iCCP", b"x\0\0" + zlib.compress(icc))))
    assert any("cICP" in note for note in picture.notes)
    assert dict(png_chunks(encode_image(picture)))[b"cICP"] == cicp
    in_p3 = read_image(png(pixels, chunk(b"cICP", cicp))).metadata.icc
    for format in ("png", "jpeg", "tiff"):
        assert opened(encode_image(picture, format)).info["icc_profile"] == in_p3
    moved = np.abs(srgb(pixels, in_p3) - srgb(pixels, icc)).max()
    assert moved > 20  # so it matters which of the two counts


@row("cicp-before-icc")
@pytest.mark.parametrize("cicp", [b"\1\x0d\0\1", b"\2\2\0\1", b"\x63\x63\0\1"])
def test_a_profile_stays_where_cicp_agrees_or_says_nothing(cicp):
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    picture = read_image(png(scene(), chunk(b"cICP", cicp), chunk(b"iCCP", b"x\0\0" + zlib.compress(icc))))
    assert picture.notes == ()
    assert picture.metadata.icc == icc
    assert dict(png_chunks(encode_image(picture)))[b"cICP"] == cicp


@row("cicp-before-icc")
@pytest.mark.parametrize("transfer", [13, 16])
def test_a_chunk_of_narrow_range_stays_as_it_is(transfer):
    cicp = bytes((9, transfer, 0, 0))
    picture = read_image(png(scene(), chunk(b"cICP", cicp)))
    assert "black is above 0" in picture.notes[-1]
    found = [content for name, content in png_chunks(encode_image(picture)) if name == b"cICP"]
    assert found == [cicp]
