import numpy as np
import pytest
import torch

from unhaze.errors import ImageValueError
from unhaze.metrics.functional import as_batch, niqe, niqe_details
from unhaze.metrics.functional._common import load_parameters
from unhaze.metrics.functional._filters import halved

from ..references import niqe as reference


# coffee, chelsea and flower: the original MATLAB code run in Octave; the others have flat areas and hold with our rule
@pytest.mark.parametrize(
    ("name", "expected", "tolerance"),
    [
        ("coffee", 4.058462, 1e-5),
        ("chelsea", 2.572084, 1e-5),
        ("flower", 4.819383, 1e-5),
        ("astronaut", 3.065221, 1e-4),
        ("china", 4.212048, 1e-5),
        ("rocket", 7.036827, 1e-5),
    ],
)
def test_published_code(batch, name, expected, tolerance):
    assert float(niqe(batch(name))) == pytest.approx(expected, abs=tolerance)


@pytest.mark.parametrize("name", ["astronaut", "rocket"])
def test_reference(pixels, name):
    picture = pixels(name)[:300, :403]
    expected, dropped = reference.niqe(picture, load_parameters("niqe"))
    result = niqe_details(as_batch(picture))
    assert float(result.value) == pytest.approx(expected, abs=1e-6)
    assert float(result.dropped) == pytest.approx(dropped)
    assert result.blocks == 12


def test_reference_on_noise(noise):
    picture = noise(257, 391)
    expected, _ = reference.niqe(picture, load_parameters("niqe"))
    assert float(niqe(as_batch(picture))) == pytest.approx(expected, abs=1e-6)


def test_halving_is_matlabs_imresize(pixels):
    grey = pixels("chelsea")[:96, :192, 0].astype(np.float64)
    result = halved(torch.from_numpy(grey)[None])[0]
    np.testing.assert_allclose(result, reference.imresize(grey, 0.5), atol=1e-10)


def test_flat_blocks_are_reported(pixels):
    picture = pixels("coffee")[:384, :384].copy()
    picture[:192] = 90
    result = niqe_details(as_batch(picture))
    expected, dropped = reference.niqe(picture, load_parameters("niqe"))
    assert float(result.dropped) == pytest.approx(dropped)
    assert 0.2 < dropped < 0.5
    assert float(result.value) == pytest.approx(expected, abs=1e-6)


def test_constant_picture_has_no_value():
    with pytest.raises(ImageValueError, match="flat nearly everywhere"):
        niqe(torch.full((1, 3, 300, 300), 0.3))


def test_small_picture_is_refused():
    with pytest.raises(ImageValueError, match="at least 256 pixels"):
        niqe(torch.rand(1, 3, 255, 800))
