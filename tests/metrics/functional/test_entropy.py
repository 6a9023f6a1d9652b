import numpy as np
import pytest
import torch
from skimage.measure import shannon_entropy

from unhaze.metrics import create_metric
from unhaze.metrics.functional import as_batch, entropy


def grey_of(picture):
    """MATLAB's rgb2gray of uint8, from its YIQ matrix."""
    weights = np.linalg.inv([[1, 0.956, 0.621], [1, -0.272, -0.647], [1, -1.106, 1.703]])[0]
    return np.floor(picture @ weights + 0.5)


@pytest.mark.parametrize("name", ["coffee", "astronaut", "chelsea", "rocket"])
def test_scikit_image(pixels, name):
    assert float(entropy(as_batch(pixels(name)))) == pytest.approx(shannon_entropy(grey_of(pixels(name))), abs=1e-9)


def test_ends_of_the_range():
    every = torch.arange(256.0).view(1, 1, 16, 16).expand(1, 3, 16, 16) / 255
    assert entropy(every).tolist() == pytest.approx([8], abs=1e-12)
    assert entropy(torch.full((2, 3, 5, 7), 0.3)).tolist() == [0, 0]


def test_haze_lowers_it(batch, hazed):
    metric = create_metric("entropy")
    clear, thin, thick = (
        float(metric.score(each)) for each in (batch("coffee"), hazed("coffee", 0.8, 0.9), hazed("coffee", 3.2, 0.9))
    )
    assert clear > thin > thick
