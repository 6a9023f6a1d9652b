"""What every method of the catalogue must do; a new method is tested by existing."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from unhaze.errors import UnknownNameError
from unhaze.models.catalogue import create_haze_model, finds_haze, list_models, model_info

METHODS = [name for name in list_models() if finds_haze(name)]


def test_the_classic_methods_are_listed():
    assert {"dcp", "cap", "bccr"} <= set(METHODS)


def test_an_unknown_method_lists_near_names():
    with pytest.raises(UnknownNameError, match="did you mean dcp"):
        create_haze_model("dpc")


@pytest.mark.parametrize("name", METHODS)
def test_info_is_complete(name):
    info = model_info(name)
    assert info.name == name
    assert info.summary.endswith(".")
    assert info.paper
    assert info.url.startswith("https://")


@pytest.mark.parametrize("name", METHODS)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_any_picture_gives_a_finite_field(name, data):
    height, width = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 40))
    view = data.draw(arrays(np.float32, (height, width, 3), elements=st.floats(0, 1, width=32)))
    estimate = create_haze_model(name).estimate(view)
    assert all(small <= large for small, large in zip(estimate.transmission.shape, (height, width), strict=True))
    assert estimate.transmission.dtype == np.float32
    assert np.isfinite(estimate.transmission).all()
    assert estimate.transmission.max() <= 1 + 1e-5
    assert estimate.airlight.shape in ((3,), (*estimate.transmission.shape, 3))
    assert ((estimate.airlight >= 0) & (estimate.airlight <= 1)).all()


@pytest.mark.parametrize("name", METHODS)
def test_the_estimate_follows_the_true_haze(name, hazy_photo):
    hazy, transmission = hazy_photo
    estimate = create_haze_model(name).estimate(hazy.astype(np.float32) / 255)
    shape = estimate.transmission.shape
    expected = cv2.resize(np.asarray(transmission), shape[::-1], interpolation=cv2.INTER_AREA)
    correlation = np.corrcoef(estimate.transmission.ravel(), expected.ravel())[0, 1]
    assert correlation > 0.6
    np.testing.assert_allclose(estimate.airlight.reshape(-1, 3).mean(axis=0), (0.85, 0.87, 0.9), atol=0.1)


@pytest.mark.parametrize("name", METHODS)
def test_the_view_is_left_alone(name, hazy_photo):
    view = hazy_photo[0].astype(np.float32) / 255
    before = view.copy()
    create_haze_model(name).estimate(view)
    np.testing.assert_array_equal(view, before)
