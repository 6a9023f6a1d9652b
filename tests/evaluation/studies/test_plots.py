import io
import math
import sys

import numpy as np
import pytest
from PIL import Image

from unhaze.errors import MissingDependencyError, UnknownNameError, UsageError
from unhaze.evaluation.studies.plots import Curve, Panel, draw_curves
from unhaze.evaluation.studies.spread import Spread

BETAS = (0.04, 0.12, 0.2)
PANEL = Panel("gcanet $x", [Curve("enc1", [Spread(v, 0.1, v - 0.1, v + 0.1) for v in (0.1, 0.2, 0.4)])])
LONE = Panel("one", [Curve("enc_1", [Spread(0.3, math.nan, math.nan, math.nan)] * 3)])


def draw(panels, format="svg"):
    return draw_curves(BETAS, "distance", panels, format, shared=True)


def test_svg_repeats_byte_for_byte_and_is_text():
    pytest.importorskip("matplotlib")
    data = draw([PANEL, LONE])
    assert draw([PANEL, LONE]) == data
    text = data.decode()
    assert all(label in text for label in ("gcanet $x", "enc_1", "scattering coefficient", "distance"))
    assert len(data) < 25_000


def test_png_shows_the_values():
    pytest.importorskip("matplotlib")
    data = draw([PANEL], "png")
    assert np.asarray(Image.open(io.BytesIO(data))).std() > 5
    assert draw([LONE], "png") != data


def test_mistakes():
    with pytest.raises(UsageError, match="nothing to draw"):
        draw([])
    with pytest.raises(UnknownNameError, match="no format of plots named 'jpg'"):
        draw([PANEL], "jpg")


def test_missing_matplotlib_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingDependencyError, match=r"unhaze\[eval\]"):
        draw([PANEL])
