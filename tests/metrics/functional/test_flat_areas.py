"""Pictures of few colours, where rounding noise decides unless it is kept from doing so."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unhaze.errors import ImageValueError
from unhaze.metrics.functional import as_batch, fade_details, piqe
from unhaze.metrics.functional._common import load_parameters

from ..references import fade as fade_reference
from ..references import piqe as piqe_reference


@st.composite
def posters(draw):
    """(H, W, 3) uint8 of up to four colours in rectangles of up to 12 pixels."""
    height, width = draw(st.integers(16, 50)), draw(st.integers(16, 50))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    colours = random.integers(0, 256, (draw(st.integers(1, 4)), 3), dtype=np.uint8)
    colours[0] = draw(st.sampled_from([0, 128, 255]))
    side = draw(st.integers(1, 12))
    cells = random.integers(0, len(colours), (height // side + 1, width // side + 1))
    return colours[np.kron(cells, np.ones((side, side), int))[:height, :width]]


@settings(max_examples=25, deadline=None)
@given(posters())
def test_fade_is_that_of_the_reference(pixels):
    expected = fade_reference.fade(pixels, load_parameters("fade"))
    if expected.dropped == 1:
        with pytest.raises(ImageValueError, match="flat everywhere"):
            fade_details(as_batch(pixels))
        return
    result = fade_details(as_batch(pixels))
    assert float(result.dropped) == pytest.approx(expected.dropped)
    np.testing.assert_allclose(result.map[0], expected.map, rtol=1e-6)
    assert float(result.value) == pytest.approx(expected.value, abs=1e-6)


@settings(max_examples=25, deadline=None)
@given(posters())
def test_piqe_is_that_of_the_reference(pixels):
    assert float(piqe(as_batch(pixels))) == pytest.approx(piqe_reference.piqe(pixels), abs=1e-6)


def test_values_do_not_depend_on_threads(batch):
    photo, threads = batch("rocket"), torch.get_num_threads()
    values = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            values.append(float(fade_details(photo).value))
    finally:
        torch.set_num_threads(threads)
    assert values[0] == pytest.approx(values[1], abs=1e-12)
