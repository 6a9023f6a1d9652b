"""Georeference of turned pictures: each pixel, known by its value, stays at its place on earth."""

import io

import numpy as np
import pytest
import tifffile
from tests.pictures import row

from unhaze.images.files import encode_image, read_image

HEIGHT, WIDTH = 3, 5
SHEARED = (9.0, 2.0, 0.0, 5e5, 1.0, -7.0, 0.0, 5.2e6, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)
NORTH_UP = [(33550, 12, 3, (10.0, 20.0, 0.0), True), (33922, 12, 6, (1.0, 2.0, 0.0, 5e5, 5.2e6, 0.0), True)]
MATRIX = [(34264, 12, 16, SHEARED, True)]


def stored(tags, orientation, kind):
    keys = (34735, 3, 8, (1, 1, 0, 1, 1025, 0, 1, kind), True)
    file = io.BytesIO()
    pixels = np.arange(HEIGHT * WIDTH, dtype=np.uint8).reshape(HEIGHT, WIDTH)
    tags = [*tags, keys, (274, 3, 1, orientation, True)]
    tifffile.imwrite(file, pixels, photometric="minisblack", metadata=None, extratags=tags)
    return file.getvalue()


def places(data, kind):
    """Value of each pixel -> where its middle lies, as the specification says (GeoTIFF 1.1, B.6)."""
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        tags = {tag.code: tag.value for tag in file.pages[0].tags}
        pixels = file.pages[0].asarray()
    middle = 0.5 if kind == 1 else 0.0
    found = {}
    for (y, x), value in np.ndenumerate(pixels):
        column, line = x + middle, y + middle
        if 34264 in tags:
            m = np.reshape(tags[34264], (4, 4))
            found[int(value)] = tuple((m @ [column, line, 0, 1])[:2])
        else:
            i, j, _, east, north, _ = tags[33922]
            found[int(value)] = east + (column - i) * tags[33550][0], north - (line - j) * tags[33550][1]
    return found


@row("geo-turned")
@pytest.mark.parametrize("kind", [1, 2])
@pytest.mark.parametrize("tags", [NORTH_UP, MATRIX])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pixels_stay_where_they_are_on_earth(orientation, tags, kind):
    data = stored(tags, orientation, kind)
    before, after = places(data, kind), places(encode_image(read_image(data)), kind)
    assert before.keys() == after.keys()
    for value, place in before.items():
        assert after[value] == pytest.approx(place, abs=1e-6)


@row("geo-turned")
def test_control_points_turn_and_polynomials_go():
    points = (0.0, 0.0, 0.0, 7.0, 8.0, 0.0, 5.0, 3.0, 0.0, 9.0, 1.0, 0.0)
    data = stored([(33922, 12, 12, points, True), (50844, 12, 2, (1.0, 2.0), True)], 3, 1)
    picture = read_image(data)
    assert "RPC" in picture.notes[-1]
    with tifffile.TiffFile(io.BytesIO(encode_image(picture))) as file:
        tags = {tag.code: tag.value for tag in file.pages[0].tags}
    assert 50844 not in tags
    assert tags[33922] == (5.0, 3.0, 0.0, 7.0, 8.0, 0.0, 0.0, 0.0, 0.0, 9.0, 1.0, 0.0)


@row("geo-turned")
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf"), 1.7e308])
@pytest.mark.parametrize("place", [33550, 33922, 34264])
def test_a_georeference_that_is_not_finite_is_left_out_where_it_would_turn(place, bad):
    tags = [(code, kind, count, (bad,) * count, once) for code, kind, count, _, once in [*NORTH_UP, *MATRIX]]
    tags = [tag for tag in tags if tag[0] == place] + [tag for tag in NORTH_UP if tag[0] != place != 34264]
    for orientation in (1, 2, 6):
        data = stored(tags, orientation, 1)
        picture = read_image(data)
        with tifffile.TiffFile(io.BytesIO(encode_image(picture))) as file:
            kept = {tag.code: tag.value for tag in file.pages[0].tags}
        left_out = "The georeference is not finite and was left out." in picture.notes
        assert left_out == (orientation != 1)
        assert 34735 in kept
        if left_out:
            assert not kept.keys() & {33550, 33922, 34264}
        else:
            assert repr(kept[place][0]) == repr(bad)
