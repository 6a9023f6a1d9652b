import io

import numpy as np
import pytest
import torch
from PIL import Image

from unhaze.errors import MissingDependencyError, UsageError
from unhaze.evaluation.plots import (
    ScatterPanel,
    SheetRow,
    encode_png,
    error_map,
    picture_sheet,
    scatter_plot,
    to_pixels,
)

PANEL = ScatterPanel("PSNR", [20.0, 25.0, 30.0], [21.0, 24.0, 33.0], True)


def opened(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def test_scatter_plot_is_a_picture_and_repeats_byte_for_byte():
    pytest.importorskip("matplotlib")
    data = scatter_plot("a $x", "b_y", [PANEL] * 4)
    assert scatter_plot("a $x", "b_y", [PANEL] * 4) == data
    assert opened(data).std() > 5


def test_scatter_plot_shows_the_scores():
    pytest.importorskip("matplotlib")
    other = ScatterPanel("PSNR", [20.0, 25.0, 30.0], [21.0, 24.0, 23.0], True)
    assert scatter_plot("a", "b", [PANEL]) != scatter_plot("a", "b", [other])


def test_scatter_plot_of_equal_scores_has_a_range():
    pytest.importorskip("matplotlib")
    assert scatter_plot("a", "b", [ScatterPanel("PSNR", [20.0], [20.0], True)])


def test_missing_matplotlib_names_the_extra(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    with pytest.raises(MissingDependencyError, match=r"unhaze\[eval\]"):
        scatter_plot("a", "b", [PANEL])


def test_error_map_grows_with_the_error_and_saturates():
    target = torch.zeros(1, 3, 1, 4, dtype=torch.float64)
    restored = target.clone()
    restored[..., 0, 1:] = torch.tensor([0.1, 0.25, 0.9])
    pixels = error_map(restored, target)
    assert pixels.shape == (1, 4, 3)
    assert pixels.dtype == np.uint8
    brightness = pixels[0].astype(int).sum(axis=1)
    assert brightness[0] < 20
    assert brightness[0] < brightness[1] < brightness[2] == brightness[3]
    assert pixels[0, 1, 0] > pixels[0, 1, 1]  # warm, not blue: channels are in the order R, G, B


def test_pixels_are_rounded():
    picture = torch.tensor([0.0, 0.4999 / 255, 0.5 / 255, 1.0], dtype=torch.float64).expand(1, 3, 2, 4)
    assert to_pixels(picture)[0, :, 0].tolist() == [0, 0, 1, 255]


def test_sheet_holds_every_panel():
    red = np.zeros((30, 40, 3), np.uint8)
    red[..., 0] = 250
    tall = np.full((80, 20, 3), (0, 250, 0), np.uint8)
    sheet = opened(picture_sheet("title", [SheetRow("ü: 1", [("a", red), ("b", tall)]), SheetRow("two", [("a", red)])]))
    assert (sheet == (250, 0, 0)).all(axis=2).sum() > 2 * 250 * 190
    assert (sheet == (0, 250, 0)).all(axis=2).sum() > 250 * 1000


def test_empty_drawings_are_refused():
    with pytest.raises(UsageError):
        picture_sheet("title", [])
    with pytest.raises(UsageError):
        scatter_plot("a", "b", [])


def test_png_keeps_pixels():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    assert np.array_equal(opened(encode_png(pixels)), pixels)
