"""BRISQUE against the release: its features in Octave, its regression by LIBSVM's own programs."""

import numpy as np
import pytest
import torch

from unhaze.errors import ImageValueError
from unhaze.metrics.functional import as_batch, brisque
from unhaze.metrics.functional.brisque import brisque_features

# brisque_feature.m in Octave on the first 201 rows and 177 columns
FEATURES = {
    "chelsea": (
        1.761,
        0.253580021,
        0.643,
        0.105660717,
        0.037068457,
        0.132909913,
        0.641,
        0.021929284,
        0.07117403,
        0.091526968,
        0.634,
        0.04354779,
        0.060422669,
        0.100563263,
        0.649,
        -0.061764045,
        0.110462726,
        0.053900695,
        2.125,
        0.286120211,
        0.748,
        0.103667242,
        0.04717536,
        0.142001038,
        0.718,
        0.033258876,
        0.078689157,
        0.11053219,
        0.711,
        0.046307569,
        0.072300709,
        0.116602118,
        0.725,
        -0.062208173,
        0.127313801,
        0.067588931,
    ),
    "coffee": (
        1.904,
        0.342157818,
        0.72,
        0.063335534,
        0.087426792,
        0.155636646,
        0.713,
        -0.049565672,
        0.153822273,
        0.098967279,
        0.682,
        -0.153186972,
        0.229244819,
        0.055221339,
        0.649,
        0.191079693,
        0.044717453,
        0.271895441,
        1.735,
        0.299048916,
        0.669,
        0.044499731,
        0.081470352,
        0.127285773,
        0.667,
        -0.047494446,
        0.140242663,
        0.088959141,
        0.639,
        -0.098075606,
        0.175349882,
        0.066906325,
        0.626,
        0.161676204,
        0.035468708,
        0.206514763,
    ),
}


# brisque_feature.m in Octave, then svm-scale and svm-predict of LIBSVM with allrange and allmodel
@pytest.mark.parametrize(
    ("name", "beta", "expected"),
    [
        ("coffee", 0, 60.2558),
        ("coffee", 1.6, 50.6502),
        ("chelsea", 0, 14.3623),
        ("chelsea", 1.6, 15.5051),
        ("flower", 0, 48.4853),
        ("flower", 1.6, 73.1877),
    ],
)
def test_the_release(batch, hazed, name, beta, expected):
    picture = (hazed(name, beta, 0.9) if beta else batch(name))[..., :201, :177]
    assert float(brisque(picture)) == pytest.approx(
        expected, abs=0.005
    )  # six digits on the way, and flat spots in haze


@pytest.mark.parametrize("name", ["chelsea", "coffee"])
def test_the_features_of_the_release_on_odd_sides(pixels, name):
    found = brisque_features(as_batch(pixels(name)[:201, :177]))[0]
    np.testing.assert_allclose(found, FEATURES[name], rtol=1e-7, atol=2e-9)


def test_distortion_is_worse(batch):
    clear = batch("chelsea")
    noisy = (clear + 0.1 * torch.randn(clear.shape, generator=torch.manual_seed(0))).clamp(0, 1)
    blurred = torch.nn.functional.avg_pool2d(clear, 7, 1, 3)
    good = float(brisque(clear))
    assert good < float(brisque(noisy))
    assert good < float(brisque(blurred))


def test_flat_pictures_have_none():
    with pytest.raises(ImageValueError, match="without texture"):
        brisque(torch.full((1, 3, 32, 32), 0.5))
    with pytest.raises(ImageValueError, match="at least 16 pixels"):
        brisque(torch.zeros(1, 3, 15, 40))
